"""Brings rows of a file into the service, through the bus like everything else.

A block of rows is shared out among lanes by SKU, each lane runs groups one after another, and the results come back in
the order of the rows. So rows of one SKU keep their order, whatever fails in between. Every row is a command that may
be sent again: a file that was brought in halfway is brought in again from its beginning.
"""

import asyncio
import time
import uuid
import zlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from app.domain.commands import Allocate, Command, CreateBatch
from app.domain.errors import DomainError
from app.integration.rows import RowReader, UnreadableRowError
from app.service_layer.messagebus import MessageBus
from app.service_layer.patience import run_until_available
from app.service_layer.ports import Cause, TemporarilyUnavailableError
from app.service_layer.requests import Outcome, Request
from app.service_layer.results import BatchRecorded, LineAccepted

PATIENCE = 60.0
"""Seconds that the database may stay away before the import gives up."""

INVALID_ROW = "invalid-row"
SUCCESSES = frozenset({"allocated", "backordered", "recorded", "known"})


@dataclass(frozen=True, slots=True)
class RowResult:
    """What became of a row.

    `key` is the batch's ref, or the order and the SKU of a line; `outcome` a word for programs: one of `SUCCESSES`, the
    code of a refusal, `invalid-row`, or `failed` where the fault is ours; `detail` the batch of a line, or the reason.
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
class _Waiting:
    place: int
    row: int
    command: Command


class Importer:
    """Runs rows in groups of `group_limit`, in so many `lanes` side by side, until `stopping` or `PATIENCE` ends it."""

    def __init__(
        self, bus: MessageBus, read: RowReader, *, lanes: int, group_limit: int, stopping: asyncio.Event
    ) -> None:
        self._bus = bus
        self._read = read
        self._lanes = lanes
        self._group_limit = group_limit
        self._stopping = stopping
        self._answered = time.monotonic()
        run = f"import-{uuid.uuid4().hex}"
        self._cause = Cause(causation_id=run, correlation_id=run)

    async def run(self, first_row: int, lines: Sequence[bytes]) -> list[RowResult]:
        """Run the lines, the first of which is row `first_row`. Returns what became of each that is not blank.

        Raises TemporarilyUnavailableError where the database stays away: the rows may or may not have taken effect.
        """
        results: list[RowResult | None] = []
        lanes: list[list[_Waiting]] = [[] for _ in range(self._lanes)]
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
                lane = lanes[zlib.crc32(command.routing_key.encode()) % self._lanes]
                lane.append(_Waiting(len(results), row, command))
                results.append(None)
        self._answered = time.monotonic()
        ended = await asyncio.gather(*(self._run_lane(lane, results) for lane in lanes), return_exceptions=True)
        for error in ended:
            if error is not None:
                raise error
        return [result for result in results if result is not None]

    async def _run_lane(self, lane: Sequence[_Waiting], results: list[RowResult | None]) -> None:
        for start in range(0, len(lane), self._group_limit):
            group = lane[start : start + self._group_limit]
            requests = [Request(waiting.command, self._cause) for waiting in group]
            outcomes = await run_until_available(self._bus.handle_group, requests, self._pause)
            self._answered = time.monotonic()
            for waiting, outcome in zip(group, outcomes, strict=True):
                results[waiting.place] = _result(waiting, outcome)

    async def _pause(self, seconds: float) -> None:
        if self._stopping.is_set() or time.monotonic() - self._answered > PATIENCE:
            raise TemporarilyUnavailableError("the database does not answer; what is done is done, run it again")
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()


def _result(waiting: _Waiting, outcome: Outcome) -> RowResult:
    word, detail = _what_became(outcome)
    return RowResult(waiting.row, _key(waiting.command), word, detail)


def _what_became(outcome: Outcome) -> tuple[str, str]:
    """The outcome in a word, and what more there is to say."""
    match outcome.error or outcome.result:
        case LineAccepted(allocation=line, created=created):
            batch_ref = line.batch_ref or ""
            return (line.status, batch_ref) if created else ("known", f"{line.status} {batch_ref}".rstrip())
        case BatchRecorded(created=created):
            return "recorded" if created else "known", ""
        case DomainError() as refusal:
            return refusal.code, str(refusal)
        case fault:
            return "failed", repr(fault)


def _key(command: Command) -> str:
    match command:
        case CreateBatch(ref=ref):
            return ref
        case Allocate(order_id=order_id, sku=sku):
            return f"{order_id}/{sku}"
        case _:
            return ""
