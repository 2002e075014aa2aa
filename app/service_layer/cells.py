"""Cells: the parts into which the data are divided. A product belongs to one cell with all that it has.

With one cell, the default, every name is in cell 0. The number of cells is chosen once, because the cell of a name
depends on it.
"""

from collections.abc import Sequence
from functools import lru_cache

from app.domain.commands import Command
from app.service_layer.lock_sets import LockSet

OVER_CELLS = -1
"""In place of a cell: a command names rows of several cells."""


class CellMap:
    """Which of `number` cells has what: products by SKU, orders and carts by id, batch refs by ref."""

    def __init__(self, number: int = 1) -> None:
        self.number = number
        self.of = lru_cache(maxsize=65_536)(self._of) if number > 1 else _first

    def _of(self, name: str) -> int:
        """The cell of a SKU, an order id, a cart id, a batch ref, or the key of a request.

        Kafka's default partitioner chooses a partition in the same way. So if the number of cells divides the number of
        partitions, each partition has events of one cell only.
        """
        return (murmur2(name.encode()) & 0x7FFFFFFF) % self.number

    def of_command(self, command: Command) -> int:
        """The cell of all rows that the command names, or `OVER_CELLS`.

        It may turn out later that the command needs rows of further cells: an order does not name its lines.
        """
        if self.number == 1:
            return 0
        locks = LockSet.of([command])
        names = locks.products.union(
            locks.batch_refs,
            locks.skus_to_create,
            locks.orders,
            locks.carts,
            (sku for _, sku in locks.batches_to_create),
        )
        cells = {self.of(name) for name in names or (command.routing_key,)}
        return cells.pop() if len(cells) == 1 else OVER_CELLS

    def parts_of(self, commands: Sequence[Command]) -> list[list[int]]:
        """The positions of the commands, divided into parts that run one after another, each in one cell if possible.

        Commands on a common row keep their order: those on products of different cells have none in common. A command
        over cells, or one that finds its products by an order or a batch, stays behind those before it and before those
        behind it.
        """
        if self.number == 1 or len(commands) == 1:
            return [list(range(len(commands)))]
        cells = [self.of_command(command) for command in commands]
        if len(set(cells)) == 1:
            return [list(range(len(commands)))]
        parts: list[list[int]] = []
        found: dict[int, list[int]] = {}
        for position, command in enumerate(commands):
            cell = OVER_CELLS if finds_products(command) else cells[position]
            if (cell == OVER_CELLS) != (OVER_CELLS in found):
                parts += found.values()
                found = {}
            found.setdefault(cell, []).append(position)
        return [*parts, *found.values()]


def finds_products(command: Command) -> bool:
    """Whether the command does not name each of its products: others have the lines of an order, or a batch."""
    locks = LockSet.of([command])
    return bool(
        locks.orders or locks.checkouts or locks.batch_refs.difference(ref for ref, _ in locks.batches_to_create)
    )


def _first(_: str) -> int:
    return 0


def murmur2(data: bytes) -> int:
    """The 32 bits of MurmurHash 2 with the seed of Kafka's default partitioner.

    Source: org.apache.kafka.common.utils.Utils.murmur2
    """
    length = len(data)
    number = 0x9747B28C ^ length
    whole = length & ~3
    for start in range(0, whole, 4):
        part = int.from_bytes(data[start : start + 4], "little") * 0x5BD1E995 & 0xFFFFFFFF
        part ^= part >> 24
        number = (number * 0x5BD1E995 & 0xFFFFFFFF) ^ (part * 0x5BD1E995 & 0xFFFFFFFF)
    if length != whole:
        number = (number ^ int.from_bytes(data[whole:], "little")) * 0x5BD1E995 & 0xFFFFFFFF
    number = (number ^ (number >> 13)) * 0x5BD1E995 & 0xFFFFFFFF
    return number ^ (number >> 15)


ONE_CELL = CellMap()
