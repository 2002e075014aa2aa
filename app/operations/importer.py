"""Imports the rows of a file: each row is a command on the bus.

Rows are assigned to lanes by SKU. A lane runs its groups one after another, so rows of one SKU keep their order,
whatever fails. A group has rows of one cell. A count of a batch does not have the SKU: in a block with other rows, all
rows are one lane, and its groups have rows of any cell. Results are returned in the order of the rows. A row may be
imported twice without effect: after an interrupted import, the whole file is imported again.
"""

import asyncio
import time
import uuid
import zlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from app.domain.commands import Allocate, Command, CountBatch, CountProduct, CreateBatch
from app.domain.errors import DomainError
from app.integration.file_rows import RowReader, UnreadableRowError
from app.service_layer.cells import CellMap
from app.service_layer.messagebus import MessageBus
from app.service_layer.ports import Cause, TemporarilyUnavailableError
from app.service_layer.requests import Outcome, Request
from app.service_layer.results import BatchChanged, BatchRecorded, LineAccepted, ProductCounted
from app.service_layer.retry import run_until_available

OUTAGE_LIMIT = 60.0
"""Seconds without an answer from the database after which the import fails."""

ONE_CELL = CellMap()
INVALID_ROW = "invalid-row"
SUCCESSES = frozenset({"allocated", "backordered", "recorded", "counted", "known"})


@dataclass(frozen=True, slots=True)
class RowResult:
    """The result of a row.

    `key` is the ref of a batch, the order and the SKU of a line, or the SKU of a product. `outcome` is one of
    `SUCCESSES`, a problem code, `invalid-row`, or `failed` for an internal error. `detail` is the batch of a line, the
    number of lines that a count has moved, or the reason.
    """

    row: int
    key: str
    outcome: str
    detail: str

    @property
    def failed(self) -> bool:
        """Whether the row did not take effect, now or before."""
        return self.outcome not in SUCCESSES


@dataclass(frozen=True, slots=True)
class _PendingRow:
    place: int
    row: int
    command: Command


class Importer:
    """Runs rows in groups of up to `group_limit`, in `lanes` concurrent lanes, until `stopping` is set."""

    def __init__(
        self,
        bus: MessageBus,
        read: RowReader,
        *,
        lanes: int,
        group_limit: int,
        stopping: asyncio.Event,
        cells: CellMap = ONE_CELL,
    ) -> None:
        self._bus = bus
        self._read = read
        self._lanes = lanes
        self._group_limit = group_limit
        self._stopping = stopping
        self._cells = cells
        self._last_answer_at = time.monotonic()
        run = f"import-{uuid.uuid4().hex}"
        self._cause = Cause(causation_id=run, correlation_id=run)

    async def run(self, first_row: int, lines: Sequence[bytes]) -> list[RowResult]:
        """Run the lines, the first of which is row `first_row`. Returns the result of each line that is not blank.

        Raises TemporarilyUnavailableError after `OUTAGE_LIMIT`: the rows may or may not have taken effect.
        """
        results: list[RowResult | None] = []
        pending: list[_PendingRow] = []
        for row, line in enumerate(lines, start=first_row):
            if not line or line.isspace():
                continue
            try:
                command = self._read(line)
            except UnreadableRowError as fault:
                results.append(RowResult(row, "", INVALID_ROW, str(fault)))
            else:
                if command is None:
                    continue
                pending.append(_PendingRow(len(results), row, command))
                results.append(None)
        lanes = self._assign(pending)
        self._last_answer_at = time.monotonic()
        ended = await asyncio.gather(*(self._run_lane(lane, results) for lane in lanes), return_exceptions=True)
        for error in ended:
            if error is not None:
                raise error
        return [result for result in results if result is not None]

    def _assign(self, rows: Sequence[_PendingRow]) -> list[list[list[_PendingRow]]]:
        """The parts of each lane, each with rows of one cell. There are at least as many parts as lanes."""
        if len({isinstance(pending.command, CountBatch) for pending in rows}) > 1:
            return [[list(rows)]]
        lanes_of_cell = -(-self._lanes // self._cells.number)
        parts: list[list[_PendingRow]] = [[] for _ in range(self._cells.number * lanes_of_cell)]
        for pending in rows:
            key = pending.command.routing_key
            parts[self._cells.of(key) * lanes_of_cell + zlib.crc32(key.encode()) % lanes_of_cell].append(pending)
        return [parts[lane :: self._lanes] for lane in range(self._lanes)]

    async def _run_lane(self, lane: Sequence[Sequence[_PendingRow]], results: list[RowResult | None]) -> None:
        for group in (
            part[at : at + self._group_limit] for part in lane for at in range(0, len(part), self._group_limit)
        ):
            requests = [Request(pending.command, self._cause) for pending in group]
            outcomes = await run_until_available(self._bus.handle_group, requests, self._pause)
            self._last_answer_at = time.monotonic()
            for pending, outcome in zip(group, outcomes, strict=True):
                results[pending.place] = _result(pending, outcome)

    async def _pause(self, seconds: float) -> None:
        if self._stopping.is_set() or time.monotonic() - self._last_answer_at > OUTAGE_LIMIT:
            raise TemporarilyUnavailableError("the database does not answer; run the import again")
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()


def _result(pending: _PendingRow, outcome: Outcome) -> RowResult:
    word, detail = _describe(outcome)
    return RowResult(pending.row, _key(pending.command), word, detail)


def _describe(outcome: Outcome) -> tuple[str, str]:
    """The outcome and the detail of a `RowResult`."""
    match outcome.error or outcome.result:
        case LineAccepted(allocation=line, changed=changed):
            batch_ref = line.batch_ref or ""
            return (line.status, batch_ref) if changed else ("known", f"{line.status} {batch_ref}".rstrip())
        case BatchRecorded(created=created):
            return "recorded" if created else "known", ""
        case BatchChanged(moved=moved) | ProductCounted(moved=moved):
            return "counted", f"moved: {len(moved)}" if moved else ""
        case DomainError() as refusal:
            return refusal.code, str(refusal)
        case fault:
            return "failed", repr(fault)


def _key(command: Command) -> str:
    match command:
        case CreateBatch(ref=key) | CountBatch(ref=key) | CountProduct(sku=key):
            return key
        case Allocate(order_id=order_id, sku=sku, line=line):
            return f"{order_id}/{sku}/{line}" if line else f"{order_id}/{sku}"
        case _:
            return ""
