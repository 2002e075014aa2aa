"""The load: actors over HTTP and Kafka, each waiting for its responses, paced so that the fault is in the middle."""

import asyncio
import itertools
import json
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from faults.actors import SKUS, Actor
from faults.client import Connection, NoAnswerError
from faults.foreign import Record
from faults.journal import SERVER_ERROR, Answer, Entry, Journal, Kind
from faults.reader import Reader
from faults.repertoire import EVERYTHING, Repertoire

PATIENCE = 240.0
"""Seconds for which a client retries; longer than any fault lasts."""

LONGEST_BACKOFF = 1.0
FLUSH_SECONDS = 10.0
STOP_SECONDS = 20.0
POLL_SECONDS = 0.05
TERMS = ("location", "best_before", "blocked")
COUNT = ("on_hand_qty", "shipped_qty")
LINE = ("order_id", "sku", "qty", "from", "good_until", "priority")
REQUESTS: dict[Kind, tuple[str, str, Sequence[str]]] = {
    "create_batch": ("POST", "/v1/batches", ("ref", "sku", "qty", "eta", *TERMS)),
    "change_batch": ("PATCH", "/v1/batches/{ref}", ("qty", *COUNT, "eta", *TERMS, "reallocate")),
    "count_product": ("PUT", "/v1/products/{sku}/on-hand", (*COUNT, "location")),
    "set_reorder_point": ("PUT", "/v1/products/{sku}/reorder-point", ("qty",)),
    "allocate": ("POST", "/v1/allocations", (*LINE, "if_unavailable", "hold_for")),
    "cancel": ("DELETE", "/v1/allocations/{order_id}/{sku}", ()),
    "ship": ("POST", "/v1/allocations/{order_id}/{sku}/ship", ()),
    "place_order": ("POST", "/v1/orders", ("order_id", "lines", "if_unavailable", "hold_for")),
    "cancel_order": ("DELETE", "/v1/orders/{order_id}", ()),
    "hold_order": ("PUT", "/v1/orders/{order_id}/hold", ("hold_for", "lines")),
    "set_item": ("PUT", "/v1/carts/{cart_id}/items/{sku}", ("qty", "unit_price", "currency")),
    "check_out": ("POST", "/v1/carts/{cart_id}/checkout", ("order_id", "if_unavailable", "hold_for")),
}
"""Method, path and the fields of the body. An entry has further fields, for readers of the journal."""

MESSAGE_TYPES = {
    "create_batch": "batch_created.v1",
    "count_product": "stock_counted.v1",
    "allocate": "allocation_required.v1",
    "cancel": "allocation_cancelled.v1",
    "ship": "line_shipped.v1",
    "place_order": "order_placed.v1",
    "cancel_order": "order_cancelled.v1",
}

CHANGES = {
    "qty": "batch_quantity_changed.v1",
    "eta": "batch_eta_changed.v1",
    "on_hand_qty": "stock_counted.v1",
}
"""The types of messages that change a batch, by the field that they have. The rest changes its terms."""


@dataclass(frozen=True)
class Pace:
    """The number of clients, and their commands a second in total; and the reads of one more client over HTTP."""

    http: int
    kafka: int
    per_second: float
    reads_per_second: float = 20.0


class Repeats(Protocol):
    """Hooks by which a fault sends messages more than once. Both run in the thread of the load."""

    def keys(self, entry: Entry) -> Sequence[str]:
        """Additional record keys under which the message is sent."""

    async def settled(self, entry: Entry) -> None:
        """Return when the client may continue; by default after the broker's acknowledgement."""


class Load:
    """Runs in its own thread from `start` to `stop`, so that a fault can be injected meanwhile."""

    def __init__(
        self,
        journal: Journal,
        ports: Callable[[], list[int]],
        bootstrap: str,
        topic: str,
        pace: Pace,
        seed: int,
        repertoire: Repertoire = EVERYTHING,
    ) -> None:
        """Store the configuration; `ports` returns the present HTTP ports, like a load balancer."""
        self.journal = journal
        self._ports = ports
        self._topic = topic
        self._pace = pace
        self._http = [Actor(f"h{number}", "http", seed, repertoire) for number in range(pace.http)]
        self._kafka = [Actor(f"k{number}", "kafka", seed, repertoire) for number in range(pace.kafka)]
        self._bootstrap = bootstrap
        self.renew_producer()
        self._stopping = threading.Event()
        self._abandoned = threading.Event()
        self._finished = threading.Event()
        self.repeats: Repeats | None = None
        self.opened = threading.Event()
        self._thread = threading.Thread(target=self._run, name="load")
        self.error: BaseException | None = None

    def renew_producer(self) -> None:
        """Send with a new producer: librdkafka does not find all leaders of a topic that was created again.

        No message may be on its way.
        """
        # One record in flight keeps the order with any broker; the inbox recognises repeats.
        self._producer = Producer(
            {
                "bootstrap.servers": self._bootstrap,
                "acks": "all",
                "linger.ms": 0,
                # As docs/cells.md advises: each partition has the messages of one cell.
                "partitioner": "murmur2_random",
                # librdkafka would wait up to 10 s after the broker's return.
                "reconnect.backoff.max.ms": 500,
                # It would find added partitions after five minutes.
                "topic.metadata.refresh.interval.ms": 1000,
                "max.in.flight.requests.per.connection": 1,
                "message.timeout.ms": 1000 * int(PATIENCE),
                "log_level": 0,
            }
        )

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self, *, seconds: float) -> None:
        """Let each client finish its command. Raises TimeoutError if they do not in time."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join(seconds)
            if self._thread.is_alive():
                message = f"the clients did not finish within {seconds:g} s"
                raise TimeoutError(message)
        if self.error is not None:
            raise self.error

    @property
    def running(self) -> bool:
        """Whether it still runs; False after `stop` or an exception."""
        return self._thread.is_alive()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Abort running commands, unless `stop` has finished."""
        self._stopping.set()
        self._abandoned.set()
        self._producer.purge()
        if self._thread.ident is not None:
            self._thread.join(STOP_SECONDS)

    def _run(self) -> None:
        poller = threading.Thread(target=self._poll, name="load-poll", daemon=True)
        poller.start()
        try:
            asyncio.run(self._drive())
        except BaseException as error:  # noqa: BLE001 - raised again by `stop`
            self.error = error
        finally:
            self._finished.set()
            poller.join()
            self._producer.flush(FLUSH_SECONDS)

    def _poll(self) -> None:
        """Poll the producer until the last client has finished."""
        while not self._finished.is_set():
            self._producer.poll(POLL_SECONDS)

    async def _drive(self) -> None:
        opener = self._http[0]
        async with Connection(self._ports()[0]) as connection:
            for entry in opener.opening(SKUS):
                await self._ask({connection.port: connection}, entry, 0)
        self.opened.set()
        async with asyncio.TaskGroup() as group:
            for number, actor in enumerate([*self._http, *self._kafka]):
                group.create_task(self._play(actor, number))
            reader = Reader(self.journal, self._ports, self._pace.reads_per_second)
            group.create_task(reader.run(self._stopping.is_set))

    async def _play(self, actor: Actor, number: int) -> None:
        interval = (self._pace.http + self._pace.kafka) / self._pace.per_second
        due = time.monotonic() + interval * number / (self._pace.http + self._pace.kafka)
        connections: dict[int, Connection] = {}
        try:
            for turn in itertools.count(number):
                if self._stopping.is_set():
                    return
                # The pace of a client; after a delay it does not catch up.
                await asyncio.sleep(due - time.monotonic())
                due = max(due + interval, time.monotonic())
                entry = actor.next()
                if actor.via == "http":
                    await self._ask(connections, entry, turn)
                else:
                    await self._send(entry)
                actor.learn(entry)
        finally:
            for connection in connections.values():
                connection.close()

    async def _ask(self, connections: dict[int, Connection], entry: Entry, turn: int) -> None:
        """Retry until there is a definite response, with the servers in turn, like a load balancer."""
        self.journal.begin(entry)
        method, path, body = as_request(entry)
        started = time.monotonic()
        for attempt in itertools.count():
            sent = time.time()
            ports = self._ports()
            port = ports[(turn + attempt) % len(ports)]
            try:
                connection = connections.setdefault(port, Connection(port))
                status, answer = await connection.request(method, path, body, entry.id, entry.idempotency_key)
                headers = connection.headers if status >= SERVER_ERROR else {}
                self.journal.note(entry, Answer(sent, time.time(), status, answer, headers=headers))
            except NoAnswerError as error:
                self.journal.note(entry, Answer(sent, time.time(), None, error=str(error)))
            if entry.final is not None or self._gives_up(started):
                return
            await asyncio.sleep(min(LONGEST_BACKOFF, 0.05 * 2**attempt))

    def _gives_up(self, started: float) -> bool:
        return self._abandoned.is_set() or time.monotonic() - started > PATIENCE

    async def _send(self, entry: Entry) -> None:
        """Send the record until the broker acknowledges it; the inbox drops repeats."""
        self.journal.begin(entry)
        record = as_record(entry)
        loop = asyncio.get_running_loop()
        started = time.monotonic()
        while entry.final is None and not self._gives_up(started):
            sent = time.time()
            acknowledged: asyncio.Future[KafkaError | None] = loop.create_future()

            def deliver(
                error: KafkaError | None, _: Message, future: asyncio.Future[KafkaError | None] = acknowledged
            ) -> None:
                loop.call_soon_threadsafe(future.set_result, error)

            # Repeats are not awaited; checks count them in the topic at the end.
            for key in self.repeats.keys(entry) if self.repeats is not None else ():
                self._producer.produce(self._topic, key=key, value=record.value, headers=record.named())
            try:
                self._producer.produce(
                    self._topic, key=record.key, value=record.value, headers=record.named(), on_delivery=deliver
                )
                error = await acknowledged
            except KafkaException as failure:
                # The topic was deleted, and is created again.
                error = failure.args[0]
                await asyncio.sleep(LONGEST_BACKOFF)
            status = None if error else 200
            self.journal.note(entry, Answer(sent, time.time(), status, error=str(error or "")))
        if self.repeats is not None and entry.final is not None:
            await self.repeats.settled(entry)


def as_request(entry: Entry) -> tuple[str, str, Any]:
    """The method, path and body of the request."""
    method, path, fields = REQUESTS[entry.kind]
    body = {name: entry.data[name] for name in fields if name in entry.data}
    return method, path.format_map(entry.data), body or None


def as_record(entry: Entry, **more: Any) -> Record:
    """The same command as a record in binary mode; `more` are fields that the service ignores."""
    ce_type, data = as_message(entry)
    headers = {"specversion": "1.0", "id": entry.id, "type": ce_type, "source": "/faults"}
    value = json.dumps({**data, **more}).encode()
    key = entry.key or entry.data["sku"]
    return Record(key.encode(), value, [(f"ce_{name}", text.encode()) for name, text in headers.items()])


def as_message(entry: Entry) -> tuple[str, dict[str, Any]]:
    """The type and data of the same command as a message."""
    if entry.kind == "change_batch":
        ce_type = next((type_ for name, type_ in CHANGES.items() if name in entry.data), "batch_changed.v1")
        return ce_type, {name: value for name, value in entry.data.items() if name != "sku"}
    data = {"order_id": entry.data["order_id"]} if entry.kind == "cancel_order" else entry.data
    return MESSAGE_TYPES[entry.kind], data
