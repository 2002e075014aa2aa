"""Reads the topics with a client other than the service's."""

import itertools
import json
import threading
import time
import uuid
from collections.abc import Iterator
from datetime import datetime
from typing import Self

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined] # missing in its stubs

from faults.background import Background
from faults.story import ORDER_EVENTS, Event

SECONDS = 30.0
PARTITIONS, MORE = 6, 3
"""Of a new topic at least, and those that are added later."""

OTHER_CONTENT = "x-other-content"
"""Header of a record with the source and id of a message and other content: it is another message."""
BATCH = 2000


def partitions_of(cells: int, *, later: bool = False) -> int:
    """The number of partitions: a multiple of the cells, as docs/cells.md advises. `later`: with those added later."""
    return sum(cells * -(-wanted // cells) for wanted in ((PARTITIONS, MORE) if later else (PARTITIONS,)))


def admin_of(bootstrap: str) -> AdminClient:
    """An administration client."""
    return AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})


def create_topics(bootstrap: str, *names: str, replication: int = 1, partitions: int = PARTITIONS) -> None:
    """Create the topics, like an operator. The service may be faster with a topic that was deleted."""
    topics = [NewTopic(name, partitions, replication) for name in names]
    admin = admin_of(bootstrap)
    made = admin.create_topics(topics, operation_timeout=SECONDS)
    for future in made.values():
        try:
            future.result(SECONDS)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise


def delete_topic(bootstrap: str, name: str) -> None:
    """Delete the topic."""
    admin = admin_of(bootstrap)
    admin.delete_topics([name], operation_timeout=SECONDS)[name].result(SECONDS)


def read_topic(bootstrap: str, topic: str) -> Iterator[Message]:
    """All records of the topic from the first offset to its present end. Raises RuntimeError on any error."""
    with _Reader(bootstrap, topic) as reader:
        ends = {
            partition: reader.consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=SECONDS)[1]
            for partition in reader.partitions
        }
        missing = {partition for partition, end in ends.items() if end > 0}
        deadline = time.monotonic() + SECONDS
        while missing:
            for message in reader.read(0.2):
                deadline = time.monotonic() + SECONDS
                yield message
            for position in reader.consumer.position([TopicPartition(topic, each) for each in missing]):
                if position.offset >= ends[position.partition]:
                    missing.discard(position.partition)
            if time.monotonic() > deadline:
                raise RuntimeError(f"{topic} could not be read to its end")


def to_event(message: Message) -> Event:
    """Parse a record of the events topic. Raises KeyError or ValueError if it violates the contract."""
    raw = message.headers() or []
    pairs = list(raw.items() if isinstance(raw, dict) else raw)
    headers = {name: value.decode() if isinstance(value, bytes) else str(value) for name, value in pairs}
    value, key = message.value(), message.key()
    if len(headers) != len(pairs) or not isinstance(value, bytes) or not isinstance(key, bytes):
        raise ValueError(f"a header occurs twice, or key or value is missing: {pairs}")
    data = json.loads(value)
    subject = data["order_id" if headers["ce_type"] in ORDER_EVENTS else "sku"]
    if not key.decode() == headers["ce_subject"] == subject:
        raise ValueError(f"key, subject and data name several: {key!r}, {headers}, {data}")
    sequence = headers.get("ce_sequence")
    return Event(
        id=headers["ce_id"],
        type=headers["ce_type"],
        subject=subject,
        sequence=None if sequence is None else int(sequence),
        data=data,
        cause=headers["ce_causationid"],
        created=datetime.fromisoformat(headers["ce_time"]).timestamp(),
        partition=message.partition() or 0,
    )


def message_id(message: Message) -> str:
    """The id of an inbound message, from its header or in structured mode from the value; otherwise its position.

    A record with the id of a message and other content is identified by its position as well.
    """
    place = place_of(message.topic() or "", message.partition(), message.offset())
    try:
        raw = message.headers() or []
        # This client cannot read a header name that is not UTF-8. It returns nevertheless, and the error appears at the
        # next call; the returned value must not be used.
        b"".decode(errors="strict")
    except (UnicodeDecodeError, SystemError):
        return place
    headers = {
        name: value.decode(errors="replace")
        for name, value in (raw.items() if isinstance(raw, dict) else raw)
        if isinstance(value, bytes)
    }
    if OTHER_CONTENT in headers:
        return place
    if headers.get("content-type", "").startswith("application/cloudevents"):
        try:
            return str(json.loads(message.value() or b"")["id"])
        except (ValueError, RecursionError, LookupError, TypeError):
            return place
    return headers.get("ce_id", place)


def place_of(topic: str, partition: int | None, offset: int | None) -> str:
    """The position of a record as text, used as the id of records without one."""
    return f"{topic}[{partition}]@{offset}"


def order_of_place(place: str) -> tuple[str, int]:
    """The partition of a record, and its offset there; see `place_of`."""
    partition, _, offset = place.rpartition("@")
    return partition, int(offset)


class Watcher(Background):
    """Reads the events continuously, with the time of each first occurrence."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        """Store the configuration."""
        super().__init__("watcher")
        self.topic = topic
        self._bootstrap = bootstrap
        self._lock = threading.Lock()
        self._arrivals: list[tuple[float, Event]] = []
        self._seen: set[str] = set()
        self._reopening = threading.Event()
        self._at_least = 1

    def reopen(self, partitions: int) -> None:
        """Read the topic from its first record again: it has `partitions` partitions now, or was created again."""
        self._at_least = partitions
        self._reopening.set()

    def arrivals(self, since: float = 0.0) -> list[tuple[float, Event]]:
        """The events whose first occurrence arrived after `since`, and when; the latest first."""
        with self._lock:
            latest_first = reversed(self._arrivals)
            return list(itertools.takewhile(lambda arrival: arrival[0] >= since, latest_first))

    @property
    def count(self) -> int:
        """The number of events so far."""
        return len(self._arrivals)

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._reopening.clear()
            self._read()

    def _read(self) -> None:
        with _Reader(self._bootstrap, self.topic, self._at_least) as reader:
            while not (self._stopping.is_set() or self._reopening.is_set()):
                for message in reader.read(0.1, patient=True):
                    # The oracle reads all records again, and reports unreadable ones.
                    event = to_event(message)
                    with self._lock:
                        if event.id not in self._seen:
                            self._seen.add(event.id)
                            self._arrivals.append((time.time(), event))


class _Reader:
    def __init__(self, bootstrap: str, topic: str, at_least: int = 1) -> None:
        self._at_least = at_least
        self.consumer = Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": f"faults-{uuid.uuid4().hex}",
                "enable.auto.commit": False,
                "fetch.wait.max.ms": 20,
                # librdkafka would wait up to 10 s after the broker's return.
                "reconnect.backoff.max.ms": 500,
                "log_level": 0,
            }
        )
        self.partitions = self._partitions(topic)
        self.consumer.assign([TopicPartition(topic, each, OFFSET_BEGINNING) for each in self.partitions])

    def _partitions(self, topic: str) -> list[int]:
        """The partitions. A broker may know a new topic, or the new partitions of a topic, later than others do."""
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            partitions = self.consumer.list_topics(topic, timeout=SECONDS).topics[topic].partitions
            if len(partitions) >= self._at_least:
                return sorted(partitions)
            time.sleep(0.1)  # poll
        raise RuntimeError(f"{topic} has not {self._at_least} partitions")

    def read(self, seconds: float, *, patient: bool = False) -> list[Message]:
        """The records within `seconds`. A patient reader tolerates a broker outage."""
        messages = []
        for message in self.consumer.consume(BATCH, timeout=seconds):
            error = message.error()
            if error is None:
                messages.append(message)
            elif not patient:
                raise RuntimeError(f"the topic cannot be read: {error}")
        return messages

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.consumer.close()
