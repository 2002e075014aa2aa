"""Cells: the parts into which the data are divided. A product belongs to one cell with all that it has.

With one cell, the default, every name is in cell 0. The number of cells is chosen once, because the cell of a name
depends on it.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache

from app.domain.commands import Command
from app.service_layer.lock_sets import LockSet

OVER_CELLS = -1
"""In place of a cell: a command needs rows of several cells, or of cells that are not known before it runs."""


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
        """The cell of all rows that the command needs, or `OVER_CELLS`.

        A batch that is named by its ref may be of a product of any cell, and so may the lines of an order.
        """
        if self.number == 1:
            return 0
        locks = LockSet.of([command])
        if locks.has_unknown_products:
            return OVER_CELLS
        names = locks.products.union(locks.skus_to_create, locks.carts)
        cells = {self.of(name) for name in names or (command.routing_key,)}
        return cells.pop() if len(cells) == 1 else OVER_CELLS

    def parts_of(self, commands: Sequence[Command]) -> list[list[int]]:
        """The positions of the commands, divided into parts that run one after another, each in one cell if possible.

        Commands on a common row keep their order: those of different cells have none in common. All from the first to
        the last command over cells are one part, because a transaction over cells costs less than many of one cell.
        """
        if self.number == 1 or len(commands) == 1:
            return [list(range(len(commands)))]
        cells = [self.of_command(command) for command in commands]
        over = [position for position, cell in enumerate(cells) if cell == OVER_CELLS]
        first, end = (over[0], over[-1] + 1) if over else (0, 0)
        between = [list(range(first, end))] if over else []
        return [*_by_cell(cells, range(first)), *between, *_by_cell(cells, range(end, len(cells)))]


def _by_cell(cells: Sequence[int], positions: Iterable[int]) -> Iterable[list[int]]:
    found: dict[int, list[int]] = {}
    for position in positions:
        found.setdefault(cells[position], []).append(position)
    return found.values()


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
