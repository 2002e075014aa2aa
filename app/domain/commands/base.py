"""What all commands have in common: they say what they name, where they belong and how much they are."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Self

from pydantic import BaseModel, ConfigDict


@dataclass(slots=True)
class Names:
    """What commands name: the rows that have to be there before the handlers run.

    `skus` are products to lock, `batch_refs` batches to resolve to their product, `batches_to_create` pairs of ref and
    SKU that a handler may record, `lines` pairs of order id and SKU. `orders` are orders as a whole: they are locked as
    well, and every line that they have is one that is named.

    To name a batch does not record it: its command may be refused, or answered without running, and another command may
    record the ref for another SKU.
    """

    skus: set[str] = field(default_factory=set)
    batch_refs: set[str] = field(default_factory=set)
    batches_to_create: set[tuple[str, str]] = field(default_factory=set)
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
