"""The service as upstream and downstream systems see it: Kafka, by a client that is not the service's own."""

import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, Message, Producer, TopicPartition

from tests.support.waiting import eventually

Json = dict[str, Any]
Headers = Sequence[tuple[str, bytes | None]]

SECONDS = 60.0

NO_REASON: Json = {"reason": None, "reference": None}
"""The fields of a change of quantity without a reason."""

NO_LINES: Json = {"order_ids": [], "order_count": 0}
"""The fields of a change of the ETA of a batch without lines."""


@dataclass(frozen=True)
class Published:
    """A record of the events topic."""

    key: bytes | None
    headers: dict[str, str]
    value: bytes

    @property
    def type(self) -> str:
        """The CloudEvents type."""
        return self.headers["ce_type"]

    @property
    def data(self) -> Json:
        """The data."""
        data: Json = json.loads(self.value)
        return data

    @property
    def story(self) -> Json:
        """The type and the data without the SKU, which tests compare."""
        return {"type": self.type, **{name: value for name, value in self.data.items() if name != "sku"}}

    @classmethod
    def of(cls, message: Message) -> "Published":
        """Take a record apart."""
        value, headers = message.value(), message.headers() or []
        assert isinstance(value, bytes), "an event has a value"
        pairs = dict(headers).items() if isinstance(headers, dict) else headers
        assert len({name for name, _ in pairs}) == len(pairs), f"a header occurs twice: {pairs}"
        return cls(message.key(), {name: text(raw) for name, raw in pairs}, value)


def text(raw: bytes | str | None) -> str:
    """A header's value."""
    assert raw is not None
    return raw.decode() if isinstance(raw, bytes) else raw


class Wire:
    """Both topics. Use it from one task at a time."""

    def __init__(self, bootstrap_servers: str, inbound_topic: str, events_topic: str) -> None:
        """Connect to the broker; the topics may be made later."""
        self.inbound_topic = inbound_topic
        self.events_topic = events_topic
        self._producer = Producer({"bootstrap.servers": bootstrap_servers, "acks": "all", "linger.ms": 0})
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap_servers,
                "group.id": f"test-{uuid.uuid4().hex}",
                "enable.auto.commit": False,
                "fetch.wait.max.ms": 20,
            }
        )
        self._seen: list[Published] = []
        self._assigned = False

    def close(self) -> None:
        """Disconnect."""
        self._consumer.close()
        # The embedded broker stops when its last client has gone.
        self._producer.close()

    def has_topic(self, name: str) -> bool:
        """Whether the broker has the topic."""
        topic = self._consumer.list_topics(timeout=SECONDS).topics.get(name)
        return topic is not None and topic.error is None and bool(topic.partitions)

    def send_raw(self, headers: Headers, value: bytes | None, *, key: str | bytes | None = None) -> None:
        """Send a record as it is, and wait until the broker has it."""
        failures: list[object] = []
        self._producer.produce(
            self.inbound_topic,
            value=value,
            key=key,
            headers=list(headers),
            on_delivery=lambda error, _: failures.append(error) if error else None,
        )
        assert self._producer.flush(SECONDS) == 0, "the broker did not take the record in time"
        assert failures == []

    def send(self, ce_type: str, data: Json, *, ce_id: str | None = None, key: str | None = None, **more: str) -> str:
        """Send a CloudEvent in binary mode; `more` are further attributes. Returns its id."""
        ce_id = ce_id or uuid.uuid4().hex
        attributes = {"specversion": "1.0", "id": ce_id, "type": ce_type, "source": "/tests", **more}
        headers: Headers = [(f"ce_{name}", value.encode()) for name, value in attributes.items()]
        key = key or data.get("sku") or data.get("ref")
        self.send_raw([*headers, ("content-type", b"application/json")], json.dumps(data).encode(), key=key)
        return ce_id

    def send_structured(self, ce_type: str, data: Json, *, key: str | None = None, **more: object) -> str:
        """Send a CloudEvent in structured mode; `more` are further attributes. Returns its id."""
        ce_id = uuid.uuid4().hex
        event = {"specversion": "1.0", "id": ce_id, "type": ce_type, "source": "/tests", "data": data, **more}
        headers: Headers = [("content-type", b"application/cloudevents+json; charset=UTF-8")]
        self.send_raw(headers, json.dumps(event).encode(), key=key or data.get("sku") or data.get("ref"))
        return ce_id

    async def events(self, sku: str, count: int, *, seconds: float = SECONDS) -> list[Published]:
        """The first occurrences of the events of a SKU so far, once there are at least `count` of them.

        Asserts the guarantees to subscribers: the same id has the same sequence, and the sequences are 1, 2, 3 … in
        this order.
        """

        async def enough() -> bool:
            self._read()
            return len(self.so_far(sku)) >= count

        try:
            await eventually(enough, seconds=seconds)
        except AssertionError:
            stories = [event.story for event in self.so_far(sku)]
            raise AssertionError(f"expected {count} events of {sku} in {seconds:g} s, got {stories}") from None
        found = self.so_far(sku)
        numbered = [int(event.headers["ce_sequence"]) for event in found if "ce_sequence" in event.headers]
        assert numbered == list(range(1, len(numbered) + 1)), numbered
        return found

    async def stories(self, sku: str, count: int) -> list[Json]:
        """The type and data of each event of a SKU, once there are at least `count` of them."""
        return [event.story for event in await self.events(sku, count)]

    def so_far(self, sku: str) -> list[Published]:
        """The first occurrences of the events of a SKU among those read."""
        first: dict[str, Published] = {}
        for event in self._seen:
            # The events of an order as a whole are of no SKU.
            if event.data.get("sku") == sku:
                known = first.setdefault(event.headers["ce_id"], event)
                assert known == event, "an event that comes twice is the same"
        return list(first.values())

    def _read(self) -> None:
        if not self._assigned:
            if not self.has_topic(self.events_topic):
                return
            partitions = self._consumer.list_topics(timeout=SECONDS).topics[self.events_topic].partitions
            self._consumer.assign([TopicPartition(self.events_topic, each, OFFSET_BEGINNING) for each in partitions])
            self._assigned = True
        for message in self._consumer.consume(1000, timeout=0.05):
            assert message.error() is None, message.error()
            self._seen.append(Published.of(message))
