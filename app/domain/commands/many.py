"""Commands that hold many of one kind, each with an answer of its own."""

from typing import Annotated, Generic, TypeVar

from pydantic import Field

from app.domain.commands.base import Command
from app.domain.commands.batches import CreateBatch
from app.domain.commands.lines import Allocate

MOST_ITEMS = 1000
"""How many commands fit into one."""

Item = TypeVar("Item", bound=Command)


class _ManyCommand(Command, Generic[Item]):
    """Commands of one kind that run one after another in one unit of work, each with an answer of its own."""

    items: Annotated[tuple[Item, ...], Field(min_length=1, max_length=MOST_ITEMS)]

    @property
    def routing_key(self) -> str:
        """That of the first item. For the others, the locks serialise the commands."""
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
    """Allocate order lines, each as `Allocate` does."""


class CreateBatches(_ManyCommand[CreateBatch]):
    """Record batches, each as `CreateBatch` does."""
