"""The base of all commands."""

from typing import ClassVar

from pydantic import BaseModel, ConfigDict


class Command(BaseModel):
    """A request to change the state. Immutable, and refused as a whole if a field is invalid."""

    model_config = ConfigDict(frozen=True, extra="forbid", title=None)

    needs_all_holds_ended: ClassVar[bool] = True
    """Whether it runs only after all overdue holds of its products have ended. Others may run while some overdue holds
    are left, because their outcome depends only on the lines that they name and on the batch that they find."""

    @property
    def routing_key(self) -> str:
        """The SKU, batch ref, order id or cart id concerned. Commands with the same key run in the order of arrival."""
        return ""

    @property
    def size(self) -> int:
        """How many lines or batches it works on; the sum of sizes bounds what shares a unit of work."""
        return 1

    @property
    def places(self) -> int:
        """How many places it takes in a queue: one for each item of a bulk command."""
        return 1
