"""The base of all commands."""

from typing import ClassVar

from pydantic import BaseModel, ConfigDict


class Command(BaseModel):
    """A request to do one thing. Immutable, and refused whole where a field is wrong."""

    model_config = ConfigDict(frozen=True, extra="forbid", title=None)

    needs_all_holds_ended: ClassVar[bool] = True
    """Whether it runs only after all overdue holds of its products have ended. The others are decided exactly while
    some of many are left, by the lines that they name and the batch that they find."""

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
