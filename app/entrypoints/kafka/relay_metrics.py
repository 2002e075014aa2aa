"""The metrics of the relays of a process: sums over the cells, and the age of the oldest event of all cells."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from app.observability import metrics


@dataclass(slots=True)
class Figures:
    """What the relay of one cell has measured. `pending` is None until events were counted, the others are 0.

    `refused_ages` is the age in seconds of the oldest event of each refused partition.
    """

    shards: int = 0
    pending: int | None = None
    oldest_age: float = 0.0
    refused_ages: Mapping[int, float] = field(default_factory=dict)
    refused_subjects: int = 0


class RelayMetrics:
    """Keeps the figures of each cell, and sets the metrics of the process."""

    def __init__(self) -> None:
        self._cells: list[Figures] = []

    def new_figures(self) -> Figures:
        """The figures of one more cell."""
        self._cells.append(Figures())
        return self._cells[-1]

    def set_shards(self) -> None:
        """Set the number of leased shards: the mean of the cells, so that all relays together have 16."""
        metrics.relay_shards.set(sum(cell.shards for cell in self._cells) / len(self._cells))

    def set_pending(self) -> None:
        """Set the number of pending events."""
        metrics.outbox_pending.set(sum(cell.pending or 0 for cell in self._cells))

    def set_ages(self) -> None:
        """Set the ages, and the number of refused subjects. Several cells may have events for one partition."""
        refused: dict[int, float] = {}
        for cell in self._cells:
            for partition, age in cell.refused_ages.items():
                refused[partition] = max(age, refused.get(partition, 0.0))
        metrics.outbox_oldest_age.set(max(cell.oldest_age for cell in self._cells))
        metrics.set_refused_ages(refused)
        metrics.outbox_refused_subjects.set(sum(cell.refused_subjects for cell in self._cells))
