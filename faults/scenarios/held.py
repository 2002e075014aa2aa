"""A transaction with outbox rows stays open while many later ones commit."""

import asyncio
import itertools
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from sqlalchemy.ext.asyncio import create_async_engine

from app.adapters.postgresql.connections import DriverConnections
from app.adapters.postgresql.messages import SHARDS, shard_of
from app.adapters.postgresql.unit_of_work import SqlUnitOfWork
from app.domain.commands import Allocate, Command, CreateBatch
from app.service_layer.cells import CellMap
from app.service_layer.handlers import COMMAND_HANDLERS
from app.service_layer.messagebus import MessageBus
from app.service_layer.ports import Cause
from app.service_layer.requests import Request, RetryPolicy
from faults import delays
from faults.delays import Span
from faults.journal import Answer, Entry
from faults.rounds import Fault, Round
from faults.trial import RECOVERY_LIMIT

DELIVERED_SECONDS = 5.0
"""The limit for publishing the transaction's events after its commit; relays get no notification of it."""

CREATED = 201


class _HeldUnitOfWork(SqlUnitOfWork):
    """Writes everything, outbox included, and commits on demand."""

    def __init__(
        self, connections: DriverConnections, cells: CellMap, written: threading.Event, released: threading.Event
    ) -> None:
        super().__init__(connections, cells=cells)
        self._written = written
        self._released = released

    async def _commit(self) -> None:
        self._written.set()
        await asyncio.to_thread(self._released.wait)
        await super()._commit()


def held_transaction(this: Round) -> None:
    """Rows in every shard of every cell become visible only after many with larger ids were published."""
    seconds = this.plan.of(30, 6)
    before = Span(time.time(), time.time() + seconds)
    time.sleep(seconds)
    cells = CellMap(this.plan.cells)
    entries = _entries(cells)
    skus = {entry.data["sku"] for entry in entries}
    for entry in entries:
        this.journal.begin(entry)
    written, released = threading.Event(), threading.Event()
    began = time.time()

    def early_events() -> list[str]:
        return [event.subject for _, event in this.watcher.arrivals(began) if event.subject in skus]

    with ThreadPoolExecutor(1) as executor:
        holder = executor.submit(lambda: asyncio.run(_hold(this, cells, entries, written, released)))
        try:
            this.wait_for(written.is_set, RECOVERY_LIMIT, "the transaction has written its rows")
            taken, meanwhile = _last_id(this), Span(time.time(), time.time() + seconds)
            time.sleep(seconds)
            later, early = _last_id(this) - taken, early_events()
        finally:
            released.set()
        holder.result(RECOVERY_LIMIT)
    committed = time.time()
    this.check(not early, f"events of {early[:3]} were published before their transaction had committed")
    this.wait_for(
        lambda: len(early_events()) >= len(entries), DELIVERED_SECONDS, "the rows of the transaction are published"
    )
    took = time.time() - committed
    published = len([event for _, event in this.watcher.arrivals(meanwhile.start) if event.created in meanwhile])
    this.say(f"held for {seconds} s, while {later} ids were taken and {published} events published; then {took:.1f} s")
    this.check(later >= seconds, f"only {later} ids were taken meanwhile, so the transaction hid nothing")
    this.recovered(time.time(), RECOVERY_LIMIT)
    arrivals = this.watcher.arrivals(before.start)
    was, became = (delays.events(arrivals, span, skus) for span in (before, meanwhile))
    this.say(f"other events took {was} before, {became} meanwhile")
    for complaint in delays.complaints("events", was, became):
        this.check_time(False, complaint)  # noqa: FBT003 - see `check`


def _entries(cells: CellMap) -> list[Entry]:
    """A batch and an order for one SKU in each shard of each cell, journalled as requests of one client."""
    names = (f"SKU-HELD-{number}" for number in itertools.count())
    by_shard: dict[tuple[int, int], str] = {}
    while len(by_shard) < SHARDS * cells.number:
        sku = next(names)
        by_shard.setdefault((cells.of(sku), shard_of(sku)), sku)
    entries = []
    for sku in by_shard.values():
        batch = {"ref": f"held-{sku}", "sku": sku, "qty": 10, "eta": None}
        order = {"order_id": f"held-{sku}", "sku": sku, "qty": 3, "if_unavailable": "backorder"}
        entries.append(Entry(f"held.batch.{sku}", "held", "http", "create_batch", batch))
        entries.append(Entry(f"held.order.{sku}", "held", "http", "allocate", order))
    return entries


async def _hold(
    this: Round, cells: CellMap, entries: Sequence[Entry], written: threading.Event, released: threading.Event
) -> None:
    """Run a group of commands with the service's code, without the commit: one transaction over all cells.

    The connection is separate: the service's own connections have a transaction timeout.
    """
    engine = create_async_engine(this.stack.database_url)
    try:
        connections = DriverConnections(engine)
        bus = MessageBus(
            lambda _: _HeldUnitOfWork(connections, cells, written, released),
            COMMAND_HANDLERS,
            retry=RetryPolicy(attempts=1),
        )
        sent = time.time()
        outcomes = await bus.handle_group([Request(_command(entry), Cause(entry.id, entry.id)) for entry in entries])
        for entry, outcome in zip(entries, outcomes, strict=True):
            outcome.unwrap()
            body = {"batch_ref": f"held-{entry.data['sku']}", "qty": entry.data["qty"]}
            this.journal.note(entry, Answer(sent, time.time(), CREATED, body))
    finally:
        await engine.dispose()


def _command(entry: Entry) -> Command:
    model: Callable[..., Command] = CreateBatch if entry.kind == "create_batch" else Allocate
    return model(**entry.data)


def _last_id(this: Round) -> int:
    return int(this.database.ask("SELECT sum(last_value) FROM pg_sequences WHERE sequencename LIKE 'events%'")[0][0])


FAULTS: dict[str, Fault] = {
    "held-transaction": Fault(held_transaction),
}
