"""Commands about an order as a whole."""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError

from app.domain.commands.base import Command
from app.domain.commands.terms import LineRequirements, PlacementTerms
from app.domain.fields import LEFT_OUT, HoldFor, LineName, LineQuantity, OrderId, Sku, drop_default


class OrderedLine(LineRequirements):
    """A quantity of one SKU."""

    sku: Sku
    qty: LineQuantity
    line: LineName = Field(default="", json_schema_extra=drop_default)


def _refuse_repeated_lines(lines: list[OrderedLine]) -> list[OrderedLine]:
    seen: set[tuple[str, str]] = set()
    for line in lines:
        if (line.sku, line.line) in seen:
            raise PydanticCustomError(
                "repeated_sku",
                "Sku {sku} is in several lines: give each of them another `line`, or make them one line",
                {"sku": line.sku},
            )
        seen.add((line.sku, line.line))
    return lines


OrderedLines = Annotated[
    list[OrderedLine],
    Field(
        min_length=1,
        max_length=100,
        description="The lines of the order. No two of them have the same SKU and the same `line`.",
        examples=[[{"sku": "RED-CHAIR", "qty": 10}, {"sku": "OAK-TABLE", "qty": 1}]],
    ),
    AfterValidator(_refuse_repeated_lines),
]


class _OrderTerms(PlacementTerms):
    lines: OrderedLines


class NewOrder(_OrderTerms):
    """An order of several lines. If `order_id` is missing, the service generates one."""

    order_id: OrderId = Field(default=LEFT_OUT, json_schema_extra=drop_default)


class PlaceOrder(_OrderTerms, Command):
    """Allocate the lines of an order: each independently, or with "reject" all of them or none.

    With `hold_for` the lines are held, all of them or none.
    """

    order_id: OrderId

    @property
    def routing_key(self) -> str:
        """The order: it is placed before it is cancelled."""
        return self.order_id

    @property
    def size(self) -> int:
        """The number of its lines."""
        return len(self.lines)


class CancelOrder(Command):
    """Remove each line of an order that was not shipped, and release the stock that they held."""

    order_id: OrderId

    @property
    def routing_key(self) -> str:
        """The order."""
        return self.order_id


class HoldChanges(BaseModel):
    """A new end of the hold of an order, and with `lines` the lines that it holds from now on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    hold_for: HoldFor
    lines: OrderedLines = Field(default=LEFT_OUT, json_schema_extra=drop_default)


class HoldOrder(HoldChanges, Command):
    """Set the end of the hold of an order, counted from now; with `lines` hold exactly these."""

    order_id: OrderId

    @property
    def routing_key(self) -> str:
        """The order."""
        return self.order_id

    @property
    def size(self) -> int:
        """The number of its lines."""
        return len(self.lines or ()) or 1
