"""Shows events as they are published, their rates, and the backlog.

It has no effect on the service: events are read without a consumer group, from the end of the topic.
"""

import asyncio
import json
import time
from collections import Counter, deque
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRecord

from app.adapters.kafka import clients, lifecycle
from app.adapters.kafka.tolerant_records import tolerate_any_header_name
from app.adapters.postgresql.inspection import Backlog, backlog_of
from app.bootstrap import Service
from app.cancellation import cancel
from app.integration.cloudevents import parse_leniently
from app.operations.error_text import first_line

RATE_SECONDS = 10
RETRY_SECONDS = 1.0
REQUEST_TIMEOUT = 20.0
END_SECONDS = 5.0
QUEUE_LIMIT = 1000


@dataclass(frozen=True, slots=True)
class SeenEvent:
    """A published event. `data` is its JSON value, or its text if it is not JSON."""

    id: str
    time: str
    type: str
    sku: str
    sequence: str
    data: Any


@dataclass(frozen=True, slots=True)
class Status:
    """The state of the service. Values that could not be read are None or missing.

    `seen` and `rates` (per second) are by type of event, `lags` by consumer group, `faults` by component.
    """

    reading: bool
    seen: dict[str, int]
    rates: dict[str, float]
    backlog: Backlog | None
    lags: dict[str, int]
    faults: dict[str, str]


class Watch:
    """Watches the service until `items` is closed."""

    def __init__(self, service: Service, *, interval: float) -> None:
        self._service = service
        self._interval = interval
        self._items: asyncio.Queue[SeenEvent | Status] = asyncio.Queue(QUEUE_LIMIT)
        self._ended = asyncio.Event()
        self._reader: AIOKafkaConsumer | None = None
        self._faults: dict[str, str] = {}
        self._seen: Counter[str] = Counter()
        self._recent: deque[tuple[float, str]] = deque()
        self._backlog: Backlog | None = None
        self._lags: dict[str, int] = {}

    async def items(self) -> AsyncGenerator[SeenEvent | Status, None]:
        """Each event, and the status every `interval` seconds. Never ends, even if a component is unavailable."""
        # Separate tasks, so that a slow component does not delay the others.
        steps = (self._check_database, self._check_broker, self._report)
        tasks = [asyncio.create_task(part) for part in (self._read(), *map(self._repeat, steps))]
        try:
            while True:
                yield await self._items.get()
        finally:
            # Requests to the broker may finish before the tasks are cancelled.
            self._ended.set()
            while not self._items.empty():
                self._items.get_nowait()
            await asyncio.wait(tasks, timeout=END_SECONDS)
            await cancel(tasks)

    async def _read(self) -> None:
        while not self._ended.is_set():
            try:
                await self._follow()
            except UnicodeDecodeError:
                # A record with a header whose name is not UTF-8.
                tolerate_any_header_name()
            except Exception as error:  # noqa: BLE001 - the broker may come back
                self._faults["events"] = str(error) or repr(error)
            await self._pause(RETRY_SECONDS)

    async def _follow(self) -> None:
        topic, config = self._service.settings.kafka_events_topic, self._service.kafka
        # To subscribe to a topic that does not exist could create it.
        _, topics = await clients.describe_topics(config, [topic])
        if topic not in topics:
            self._faults["events"] = f"the topic {topic} does not exist yet"
            return
        reader = await clients.start_reader(config, topic)
        try:
            self._reader = reader
            self._faults.pop("events", None)
            while not self._ended.is_set():
                fetched = await reader.getmany(timeout_ms=500, max_records=QUEUE_LIMIT)
                for record in (record for records in fetched.values() for record in records):
                    event = _event(record)
                    self._count(event.type)
                    await self._show(event)
        finally:
            self._reader = None
            await asyncio.shield(lifecycle.stop(reader))

    async def _repeat(self, step: Callable[[], Awaitable[None]]) -> None:
        while not self._ended.is_set():
            await step()
            await self._pause(self._interval)

    async def _pause(self, seconds: float) -> None:
        """Wait, at most until `items` is closed."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._ended.wait()

    async def _show(self, item: SeenEvent | Status) -> None:
        if not self._ended.is_set():
            await self._items.put(item)

    async def _report(self) -> None:
        reading, rates, faults = self._reader is not None, self._rates(), dict(self._faults)
        await self._show(Status(reading, dict(self._seen), rates, self._backlog, self._lags, faults))

    def _count(self, type_: str) -> None:
        self._seen[type_] += 1
        self._recent.append((time.monotonic(), type_))
        self._drop_old()

    def _drop_old(self) -> None:
        since = time.monotonic() - RATE_SECONDS
        while self._recent and self._recent[0][0] < since:
            self._recent.popleft()

    def _rates(self) -> dict[str, float]:
        self._drop_old()
        counts = Counter(type_ for _, type_ in self._recent)
        return {type_: counts[type_] / RATE_SECONDS for type_ in self._seen}

    async def _check_database(self) -> None:
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT):
                self._backlog = await backlog_of(self._service.cells.all_engines)
        except Exception as error:  # noqa: BLE001 - the database may come back
            self._faults["database"] = first_line(error)
            self._backlog = None
        else:
            self._faults.pop("database", None)

    async def _check_broker(self) -> None:
        settings, reader = self._service.settings, self._reader
        if reader is None:
            self._lags = {}
            return
        groups = {
            settings.kafka_consumer_group: settings.kafka_inbound_topics,
            settings.kafka_notifier_group: [settings.kafka_events_topic],
        }
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT):
                self._lags = await clients.lags_of(self._service.kafka, reader, groups)
        except Exception as error:  # noqa: BLE001 - the broker may come back
            self._faults["broker"] = str(error) or repr(error)
            self._lags = {}
        else:
            self._faults.pop("broker", None)


def _event(record: ConsumerRecord) -> SeenEvent:
    """The event in a record, or what can be shown of a record that another program has written."""
    event = parse_leniently(record.headers, record.value)
    text = event.data.decode(errors="replace")
    data: Any = text
    with suppress(ValueError, RecursionError):
        data = json.loads(text)
    return SeenEvent(
        id=_encodable(event.id),
        time=_encodable(event.time),
        type=_encodable(event.type) or "unknown",
        sku=_encodable(event.subject),
        sequence=_encodable(event.sequence or ""),
        data=data,
    )


def _encodable(text: str) -> str:
    """The text with U+FFFD in place of bytes that are not UTF-8."""
    return text.encode(errors="surrogateescape").decode(errors="replace")
