"""Commands about a batch of stock."""

from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from app.domain.choice import MAIN_LOCATION
from app.domain.commands.base import Command
from app.domain.events import StockReason
from app.domain.fields import (
    LEFT_OUT,
    ONE_LINE_PATTERN,
    BatchEta,
    BatchQuantity,
    BatchRef,
    BestBefore,
    Blocked,
    CountedShippedQuantity,
    EntityTags,
    Location,
    NewBatchQuantity,
    NewQuantity,
    OnHandQuantity,
    Sku,
    drop_default,
)
from app.domain.stock import BatchTerms


class CreateBatch(Command):
    """Record a batch of stock that was purchased together."""

    ref: BatchRef
    sku: Sku
    qty: BatchQuantity
    eta: BatchEta = None
    location: Location = MAIN_LOCATION
    best_before: BestBefore = None
    blocked: Blocked = False

    @property
    def routing_key(self) -> str:
        """The SKU."""
        return self.sku

    @property
    def terms(self) -> BatchTerms:
        """The terms that the batch is recorded with."""
        return BatchTerms(self.location, self.best_before, self.blocked)


class CreateBatchIfMatch(CreateBatch):
    """Record a batch again, where it is as the caller has seen it. A batch that is new is refused."""

    if_match: EntityTags


class _NamedBatchCommand(Command):
    ref: BatchRef

    @property
    def routing_key(self) -> str:
        return self.ref


class WhyStockChanged(BaseModel):
    """What a person would write beside a corrected quantity. What is left out is None; null itself is refused."""

    reason: Annotated[
        StockReason, Field(description="The reason for the correction of the quantity.", examples=["damaged"])
    ] = Field(default=LEFT_OUT, json_schema_extra=drop_default)
    reference: Annotated[
        str,
        Field(
            strict=True,
            min_length=1,
            max_length=255,
            pattern=ONE_LINE_PATTERN,
            description=(
                "A reference to details, for example a report or a ticket. One line: no control characters, no line or "
                "paragraph separators, no characters that change the direction of text."
            ),
            examples=["report-17"],
        ),
    ] = Field(default=LEFT_OUT, json_schema_extra=drop_default)


class ChangeBatchQuantity(WhyStockChanged, _NamedBatchCommand):
    """Correct the purchased quantity of a batch: stock was found, lost or damaged."""

    qty: NewBatchQuantity


class CountBatch(WhyStockChanged, _NamedBatchCommand):
    """Set the quantity of a batch to the pieces that were counted in the warehouse and those that were shipped."""

    on_hand_qty: OnHandQuantity
    shipped_qty: CountedShippedQuantity = Field(default=LEFT_OUT, json_schema_extra=drop_default)


Reallocate = Annotated[
    bool,
    Field(
        strict=True,
        description=(
            "If the batch became late: move its lines to batches that serve them sooner, oldest line first. If it is "
            "blocked: move all its lines to other batches or to the queue."
        ),
    ),
]


class ChangeBatchEta(_NamedBatchCommand):
    """Change the day a batch arrives; null says that it has arrived in the warehouse."""

    eta: BatchEta
    reallocate: Reallocate = False


class Transfer(BaseModel):
    """Pieces of a batch that are moved to another location, where they are a batch of their own."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ref: Annotated[BatchRef, Field(description="The ref of the new batch.", examples=["batch-1-berlin"])]
    qty: Annotated[BatchQuantity, Field(description="The pieces to move.", examples=[10])]
    location: Location
    eta: Annotated[
        BatchEta, Field(description="The day on which they arrive; null if they are there.", examples=["2030-01-01"])
    ] = None


class TransferBatch(Command):
    """Move pieces of the batch `source_ref` to another location, as the batch `ref`."""

    source_ref: BatchRef
    ref: BatchRef
    qty: BatchQuantity
    location: Location
    eta: BatchEta = None

    @property
    def routing_key(self) -> str:
        """The batch."""
        return self.source_ref


class ChangeBatchTerms(_NamedBatchCommand):
    """Change the location, the best-before day or the blocking of a batch. Fields that are left out are unchanged.

    One of the three is required, and `reallocate: true` requires `blocked: true`.
    """

    model_config = ConfigDict(json_schema_extra={"minProperties": 2})

    location: Location = Field(default=LEFT_OUT, json_schema_extra=drop_default)
    best_before: BestBefore = Field(default=None, json_schema_extra=drop_default)
    blocked: Blocked = Field(default=LEFT_OUT, json_schema_extra=drop_default)
    reallocate: Reallocate = False

    @model_validator(mode="after")
    def _refuse_what_does_not_go_together(self) -> Self:
        if not self.model_fields_set & {"location", "best_before", "blocked"}:
            raise PydanticCustomError("nothing_to_change", "Input should have location, best_before or blocked")
        if self.reallocate and not self.blocked:
            raise PydanticCustomError("without_blocked", "reallocate: true goes with blocked: true")
        return self


_WITH_A_QUANTITY: dict[str, Any] = {"anyOf": [{"required": ["qty"]}, {"required": ["on_hand_qty"]}]}


_CHANGES: dict[str, Any] = {
    "examples": [
        {"qty": 25, "eta": "2030-01-01", "expected_qty": 100, "reason": "damaged", "reference": "report-17"},
        {"on_hand_qty": 20, "shipped_qty": 5, "reason": "recount", "reference": "report-17"},
        {"blocked": True, "reallocate": True},
    ],
    # Since all others go with one of the six, this says that one of them has to be there. Said with `anyOf`,
    # generators of clients would make no type of it.
    "minProperties": 1,
    "dependentRequired": {"shipped_qty": ["on_hand_qty"]},
    "dependentSchemas": {
        "on_hand_qty": {"not": {"required": ["qty"]}},
        **dict.fromkeys(("reason", "reference", "expected_qty"), _WITH_A_QUANTITY),
        # The default may be sent without `eta`: generated clients send every default.
        "reallocate": {
            "anyOf": [
                {"required": ["eta"]},
                {"required": ["blocked"], "properties": {"blocked": {"const": True}}},
                {"properties": {"reallocate": {"const": False}}, "minProperties": 2},
            ]
        },
    },
}


class BatchChanges(WhyStockChanged):
    """Changes of a batch. Fields that are left out are unchanged.

    One of `qty`, `on_hand_qty`, `eta`, `location`, `best_before` and `blocked` is required. `qty` and `on_hand_qty`
    exclude each other. `reason`, `reference` and `expected_qty` require one of them, `shipped_qty` requires
    `on_hand_qty`, and `reallocate: true` requires `eta` or `blocked: true`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", json_schema_extra=_CHANGES)

    # The defaults of these six are never read: `model_fields_set` has the fields that were sent.
    qty: NewBatchQuantity = Field(default=0, json_schema_extra=drop_default)
    on_hand_qty: OnHandQuantity = Field(default=0, json_schema_extra=drop_default)
    eta: BatchEta = Field(default=None, json_schema_extra=drop_default)
    location: Location = Field(default=LEFT_OUT, json_schema_extra=drop_default)
    best_before: BestBefore = Field(default=None, json_schema_extra=drop_default)
    blocked: Blocked = Field(default=False, json_schema_extra=drop_default)
    expected_qty: Annotated[
        NewQuantity,
        Field(
            description="The expected current quantity. If it differs, the response is 409 and nothing changes.",
            examples=[100],
        ),
    ] = Field(default=LEFT_OUT, json_schema_extra=drop_default)
    shipped_qty: CountedShippedQuantity = Field(default=LEFT_OUT, json_schema_extra=drop_default)
    reallocate: Reallocate = False

    @model_validator(mode="after")
    def _refuse_what_does_not_go_together(self) -> Self:
        given = self.model_fields_set
        quantities = given & {"qty", "on_hand_qty"}
        if not given & {"qty", "on_hand_qty", "eta", "location", "best_before", "blocked"}:
            raise PydanticCustomError(
                "nothing_to_change", "Input should have qty, on_hand_qty, eta, location, best_before or blocked"
            )
        if len(quantities) > 1:
            raise PydanticCustomError("two_quantities", "Input should have qty or on_hand_qty, not both")
        if not quantities and given & {"reason", "reference", "expected_qty"}:
            raise PydanticCustomError("without_quantity", "reason, reference and expected_qty go with a quantity")
        if "shipped_qty" in given and "on_hand_qty" not in given:
            raise PydanticCustomError("without_count", "shipped_qty goes with on_hand_qty")
        if self.reallocate and "eta" not in given and not self.blocked:
            raise PydanticCustomError("without_eta", "reallocate: true goes with eta or blocked: true")
        return self


class ChangeBatch(BatchChanges, _NamedBatchCommand):
    """Change a batch in one transaction. Lines are placed again by all of its new values."""


class ChangeBatchIfMatch(ChangeBatch):
    """Change a batch where it is as the caller has seen it."""

    if_match: EntityTags
