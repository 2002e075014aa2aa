"""What the service can be asked to do, in the imperative.

A command is the request body and the message data at once: parsing it is its validation. Besides its fields it says
what it names (`names`), so that a whole group of commands can be fetched and locked with a fixed number of statements.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Annotated, Generic, Self, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from app.domain.events import StockReason
from app.domain.fields import (
    LEFT_OUT,
    BatchEta,
    BatchQuantity,
    BatchRef,
    IfUnavailable,
    LineQuantity,
    NewBatchQuantity,
    NewQuantity,
    OrderId,
    Sku,
    drop_default,
)

MOST_ITEMS = 1000
"""How many commands fit into one."""


@dataclass(slots=True)
class Names:
    """What commands name: the rows that have to be there before the handlers run.

    `skus` are products to lock, `new_skus` those among them that may be created, `batch_refs` batches to resolve to
    their product, `lines` pairs of order id and SKU. `orders` are orders as a whole: they are locked as well, and every
    line that they have is one that is named.
    """

    skus: set[str] = field(default_factory=set)
    new_skus: dict[str, str] = field(default_factory=dict)
    batch_refs: set[str] = field(default_factory=set)
    lines: set[tuple[str, str]] = field(default_factory=set)
    orders: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, commands: Iterable["Command"]) -> Self:
        """Everything that any of the commands names."""
        names = cls()
        for command in commands:
            command.add_names(names)
        return names


class Command(BaseModel):
    """A request to do one thing. Immutable, and refused whole where a field is wrong."""

    model_config = ConfigDict(frozen=True, extra="forbid", title=None)

    def add_names(self, names: Names) -> None:
        """Add what this command names; nothing where it works without a product."""

    @property
    def routing_key(self) -> str:
        """The product or batch concerned: commands with the same key keep the order in which they came."""
        return ""

    @property
    def size(self) -> int:
        """How many lines or batches it works on; the sum of sizes bounds what shares a unit of work."""
        return 1

    @property
    def places(self) -> int:
        """How many places it takes where it waits: one for each thing that a caller has asked for."""
        return 1


class CreateBatch(Command):
    """Record a batch of stock that was bought together."""

    ref: BatchRef
    sku: Sku
    qty: BatchQuantity
    eta: BatchEta = None

    def add_names(self, names: Names) -> None:
        """The batch, and the product that it may bring into being."""
        names.skus.add(self.sku)
        names.new_skus.setdefault(self.ref, self.sku)
        names.batch_refs.add(self.ref)

    @property
    def routing_key(self) -> str:
        """The SKU."""
        return self.sku


class _NamedLineCommand(Command):
    order_id: OrderId
    sku: Sku

    def add_names(self, names: Names) -> None:
        names.skus.add(self.sku)
        names.lines.add((self.order_id, self.sku))

    @property
    def routing_key(self) -> str:
        return self.sku


class Allocate(_NamedLineCommand):
    """Allocate an order line to the one batch that serves it best."""

    qty: LineQuantity
    if_unavailable: IfUnavailable = "backorder"


class CancelAllocation(_NamedLineCommand):
    """Forget an order line, and free the stock that it held."""


class ShipLine(_NamedLineCommand):
    """Note that an order line has left the house: from now on it is neither cancelled nor moved."""


class OrderedLine(BaseModel):
    """So many pieces of one SKU."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sku: Sku
    qty: LineQuantity


def _refuse_repeated_skus(lines: list[OrderedLine]) -> list[OrderedLine]:
    seen: set[str] = set()
    for line in lines:
        if line.sku in seen:
            raise PydanticCustomError("repeated_sku", "Sku {sku} should be in one line only", {"sku": line.sku})
        seen.add(line.sku)
    return lines


OrderedLines = Annotated[
    list[OrderedLine],
    Field(
        min_length=1,
        max_length=100,
        description="What is ordered, each SKU at most once.",
        examples=[[{"sku": "RED-CHAIR", "qty": 10}, {"sku": "OAK-TABLE", "qty": 1}]],
    ),
    AfterValidator(_refuse_repeated_skus),
]


class NewOrder(BaseModel):
    """An order of several lines; its id may be left to the service."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    order_id: OrderId = Field(default=LEFT_OUT, json_schema_extra=drop_default)
    lines: OrderedLines
    if_unavailable: IfUnavailable = "backorder"


class PlaceOrder(Command):
    """Allocate the lines of an order: each by itself, or with "reject" all of them or none."""

    order_id: OrderId
    lines: OrderedLines
    if_unavailable: IfUnavailable = "backorder"

    def add_names(self, names: Names) -> None:
        """The order and its lines."""
        names.orders.add(self.order_id)
        for line in self.lines:
            names.skus.add(line.sku)
            names.lines.add((self.order_id, line.sku))

    @property
    def routing_key(self) -> str:
        """The order: it is placed before it is cancelled."""
        return self.order_id

    @property
    def size(self) -> int:
        """The number of its lines."""
        return len(self.lines)


class CancelOrder(Command):
    """Forget every line of an order that has not been shipped, and free the stock that they held."""

    order_id: OrderId

    def add_names(self, names: Names) -> None:
        """The order, whatever it has."""
        names.orders.add(self.order_id)

    @property
    def routing_key(self) -> str:
        """The order."""
        return self.order_id


class _NamedProductCommand(Command):
    sku: Sku

    def add_names(self, names: Names) -> None:
        names.skus.add(self.sku)

    @property
    def routing_key(self) -> str:
        return self.sku


class ServeBackorders(_NamedProductCommand):
    """Give free stock to the lines that wait for it. It has something to do only where a fault has left it undone."""


class ReorderPoint(BaseModel):
    """From how many pieces on there is enough of a product."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    qty: Annotated[
        NewQuantity,
        Field(description="The buyers are told when less than this is available; 0: they are not.", examples=[20]),
    ]


class SetReorderPoint(ReorderPoint, _NamedProductCommand):
    """Have the buyers told when less than so many pieces of a product are available; 0: have them told no more."""


class _NamedBatchCommand(Command):
    ref: BatchRef

    def add_names(self, names: Names) -> None:
        names.batch_refs.add(self.ref)

    @property
    def routing_key(self) -> str:
        return self.ref


class WhyStockChanged(BaseModel):
    """What a person would write beside a corrected quantity. What is left out is None; null itself is refused."""

    reason: Annotated[
        StockReason, Field(description="Why there is more or less than was thought.", examples=["damaged"])
    ] = Field(default=LEFT_OUT, json_schema_extra=drop_default)
    reference: Annotated[
        str,
        Field(
            strict=True,
            min_length=1,
            max_length=255,
            description="Where more is written about it: a report, a ticket.",
            examples=["report-17"],
        ),
    ] = Field(default=LEFT_OUT, json_schema_extra=drop_default)


class ChangeBatchQuantity(WhyStockChanged, _NamedBatchCommand):
    """Correct the purchased quantity of a batch: stock was found, lost or damaged."""

    qty: NewBatchQuantity


Reallocate = Annotated[
    bool,
    Field(
        strict=True,
        description="Where the batch is late: move its lines to batches that serve them sooner, oldest line first.",
    ),
]


class ChangeBatchEta(_NamedBatchCommand):
    """Change the day a batch arrives; null says that it has arrived in the warehouse."""

    eta: BatchEta
    reallocate: Reallocate = False


class BatchChanges(WhyStockChanged):
    """What to change about a batch. A field left out stays as it is; `qty` or `eta` has to be there.

    `reason`, `reference` and `expected_qty` go with `qty`, `reallocate` with `eta`.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        json_schema_extra={
            # Since all others go with one of the two, this says that `qty` or `eta` has to be there. Said with `anyOf`,
            # generators of clients would make no type of it.
            "minProperties": 1,
            "dependentRequired": {
                "reason": ["qty"],
                "reference": ["qty"],
                "expected_qty": ["qty"],
                "reallocate": ["eta"],
            },
        },
    )

    # The defaults are never read: `model_fields_set` says what was given.
    qty: NewBatchQuantity = Field(default=0, json_schema_extra=drop_default)
    eta: BatchEta = Field(default=None, json_schema_extra=drop_default)
    expected_qty: Annotated[
        NewQuantity,
        Field(description="Change the quantity only where it is this now, else answer with 409.", examples=[100]),
    ] = Field(default=LEFT_OUT, json_schema_extra=drop_default)
    reallocate: Reallocate = False

    @model_validator(mode="after")
    def _refuse_nothing(self) -> Self:
        given = self.model_fields_set
        if not given & {"qty", "eta"}:
            raise PydanticCustomError("nothing_to_change", "Input should have qty, eta or both")
        if "qty" not in given and given & {"reason", "reference", "expected_qty"}:
            raise PydanticCustomError("without_quantity", "reason, reference and expected_qty go with qty")
        if "eta" not in given and "reallocate" in given:
            raise PydanticCustomError("without_eta", "reallocate goes with eta")
        return self


class ChangeBatch(BatchChanges, _NamedBatchCommand):
    """Change the quantity and the ETA of a batch in one transaction; the new ETA counts for placing lines again."""


Item = TypeVar("Item", bound=Command)


class _ManyCommand(Command, Generic[Item]):
    """Commands of one kind that run one after another in one unit of work, each with an answer of its own."""

    items: Annotated[tuple[Item, ...], Field(min_length=1, max_length=MOST_ITEMS)]

    def add_names(self, names: Names) -> None:
        """Everything that any of them names."""
        for item in self.items:
            item.add_names(names)

    @property
    def routing_key(self) -> str:
        """That of the first; where the others belong elsewhere, the locks alone keep them apart."""
        return self.items[0].routing_key

    @property
    def size(self) -> int:
        """Their number."""
        return len(self.items)

    @property
    def places(self) -> int:
        """Their number."""
        return len(self.items)


class AllocateMany(_ManyCommand[Allocate]):
    """Allocate order lines, each as `Allocate` would by itself."""


class CreateBatches(_ManyCommand[CreateBatch]):
    """Record batches, each as `CreateBatch` would by itself."""
