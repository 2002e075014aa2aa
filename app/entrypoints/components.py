"""The components that run in the background: relay, consumer, notifier, housekeeping. A process can run any of them."""

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from app.adapters.kafka import clients
from app.adapters.postgresql.backlog_counts import BacklogCounts, Held, SnapshotWatch, count_backlog
from app.adapters.postgresql.cart_repository import prune_carts
from app.adapters.postgresql.commit_tokens import prune_commit_tokens
from app.adapters.postgresql.idempotency import prune_answers
from app.adapters.postgresql.messages import prune_inbox
from app.adapters.postgresql.notifier_memory import NotifierMemory
from app.adapters.postgresql.outbox_reader import CONNECTIONS, OutboxReader
from app.adapters.postgresql.outbox_signal import OutboxListener
from app.bootstrap import Service, database_tls
from app.cancellation import cancel, raise_if_cancelled
from app.entrypoints.kafka.consumer import InboundConsumer
from app.entrypoints.kafka.notifier import Notifier
from app.entrypoints.kafka.relays import Relays
from app.entrypoints.kafka.subscription import Subscription
from app.observability import metrics
from app.operations import reconciliation
from app.operations.database_watch import watch
from app.operations.doctor_of_cells import check_partitions
from app.operations.hold_sweeper import HoldSweeper

log = logging.getLogger(__name__)

RESTART_DELAY = 1.0
PRUNE_INTERVAL = 3600.0
COUNT_INTERVAL = 30.0

Component = Callable[[], Awaitable[None]]


def relay(service: Service) -> Component:
    """Publishes the outbox."""
    settings = service.settings
    create_topics = _topics(service, [settings.kafka_events_topic])

    async def start_producer() -> AIOKafkaProducer:
        await create_topics()
        return await clients.start_producer(service.kafka)

    turns = asyncio.Semaphore(CONNECTIONS)
    return Relays(
        [OutboxReader(engine, lease=settings.relay_lease, turns=turns) for engine in service.cells.engines],
        service.signal,
        OutboxListener(settings.database_url.get_secret_value(), service.signal.received, tls=database_tls(settings)),
        start_producer,
        topic=settings.kafka_events_topic,
        source=settings.event_source,
        lease=settings.relay_lease,
    ).run


def consumer(service: Service) -> Component:
    """Handles inbound messages as commands."""
    settings = service.settings
    group = settings.kafka_consumer_group
    return Subscription(
        _start_consumer(service, settings.kafka_inbound_topics, group),
        InboundConsumer(service.bus, consumer_group=group, context=service.validation_context).handle,
        name="consumer",
        max_records=settings.consumer_batch_limit,
    ).run


def notifier(service: Service) -> Component:
    """Sends mail about published events."""
    settings = service.settings
    return Subscription(
        _start_consumer(service, [settings.kafka_events_topic], settings.kafka_notifier_group),
        Notifier(
            NotifierMemory(service.cells.control),
            service.mailer,
            service.addresses,
            consumer_group=settings.kafka_notifier_group,
        ).handle,
        name="notifier",
        max_records=settings.consumer_batch_limit,
    ).run


def housekeeping(service: Service) -> Component:
    """Deletes old message ids, stored responses, carts and tokens of commits, counts backlogs, and reconciles."""
    interval = service.settings.reconcile_interval

    async def prune() -> None:
        while True:
            # One after another: the servers have an hour for it.
            for engine in service.cells.engines:
                try:
                    await prune_inbox(engine, service.settings.inbox_retention_days)
                    await prune_answers(engine, service.settings.idempotency_retention_hours)
                    await prune_carts(engine, service.settings.cart_retention_days)
                    await prune_commit_tokens(engine)
                except Exception as error:  # noqa: BLE001 - it is repeated an hour later
                    raise_if_cancelled()
                    log.warning("inbox, stored answers, carts and tokens of commits could not be pruned: %r", error)
            await asyncio.sleep(PRUNE_INTERVAL)

    async def reconcile() -> None:
        reconciliation.initialize_metrics()
        # After a random delay, so that processes which start together do not reconcile at the same time.
        await asyncio.sleep(random.uniform(0, interval))  # noqa: S311 - a delay is not a secret
        while True:
            try:
                await reconciliation.check(service)
            except Exception as error:  # noqa: BLE001 - it is repeated after the interval
                raise_if_cancelled()
                log.warning("sums, lines, queues and events could not be compared: %r", error)
            await asyncio.sleep(interval)

    async def run() -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(prune(), name="prune-inbox")
            tasks.create_task(_count(service), name="count-waiting")
            if interval:
                tasks.create_task(reconcile(), name="reconcile")

    return run


async def _count(service: Service) -> None:
    """Updates the metrics of backlogs and of old snapshots."""
    snapshots = SnapshotWatch(service.cells.engines)
    while True:
        try:
            waiting, held = await count_backlog(service.cells.all_engines), await snapshots.look()
        except Exception as error:  # noqa: BLE001 - a missing figure must not stop the component
            raise_if_cancelled()
            log.info("what waits could not be counted: %r", error)
            waiting = BacklogCounts(*[metrics.UNKNOWN] * 4)
            held = Held(metrics.UNKNOWN, metrics.UNKNOWN, metrics.UNKNOWN)
        metrics.backordered_lines.set(waiting.backordered_lines)
        metrics.dead_letters_kept.set(waiting.dead_letters)
        metrics.held_lines.set(waiting.held_lines)
        metrics.overdue_hold_age.set(waiting.overdue_hold_age)
        metrics.oldest_snapshot_seconds.set(held.seconds)
        metrics.oldest_snapshot_transactions.set(held.transactions)
        metrics.outbox_dead_rows.set(held.dead_rows)
        await asyncio.sleep(COUNT_INTERVAL)


def hold_sweeper(service: Service) -> Component:
    """Ends holds whose time is over, at most a second late."""
    return HoldSweeper(service).run


def database_watch(service: Service) -> Component:
    """Logs when the database becomes unusable, and when it is usable again."""

    async def run() -> None:
        await watch(service)

    return run


@asynccontextmanager
async def running(components: Iterable[Component]) -> AsyncIterator[None]:
    """Run the components during the block. A component that fails is started again."""
    tasks = [asyncio.create_task(_supervise(component), name=component.__qualname__) for component in components]
    try:
        yield
    finally:
        await cancel(tasks)


async def _supervise(component: Component) -> None:
    while True:
        try:
            await component()
        except Exception:
            raise_if_cancelled()
            log.exception("%s failed; restarting it in %.0f s", component.__qualname__, RESTART_DELAY)
        await asyncio.sleep(RESTART_DELAY)


def _start_consumer(service: Service, topics: list[str], group: str) -> Callable[[], Awaitable[AIOKafkaConsumer]]:
    create_topics = _topics(service, topics)

    async def start() -> AIOKafkaConsumer:
        await create_topics()
        return await clients.start_consumer(service.kafka, topics, group)

    return start


def _topics(service: Service, names: list[str]) -> Callable[[], Awaitable[None]]:
    """A function that creates missing topics.

    The first time it logs a warning for each topic whose partitions cannot be shared out among the cells.
    """
    is_checked = service.settings.cells == 1

    async def create() -> None:
        nonlocal is_checked
        await clients.create_topics(service.kafka, names)
        if not is_checked:
            _, states = await clients.describe_topics(service.kafka, names)
            is_checked = True
            for name, state in states.items():
                for finding in check_partitions(name, state.partitions, service.settings.cells):
                    log.warning("%s; %s", finding.text, finding.advice)

    return create
