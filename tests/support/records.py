"""Records as Kafka hands them over, and stand-ins for the clients that send and fetch them."""

import asyncio
import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaTimeoutError, MessageSizeTooLargeError
from aiokafka.structs import OffsetAndMetadata

TOPIC = "inbound"

Headers = Iterable[tuple[str, bytes | None]]


def record(
    headers: Headers,
    value: bytes | None,
    *,
    offset: int = 0,
    partition: int = 0,
    key: bytes | None = None,
) -> ConsumerRecord:
    return ConsumerRecord(
        topic=TOPIC,
        partition=partition,
        offset=offset,
        timestamp=1_700_000_000_000,
        timestamp_type=0,
        key=key,
        value=value,
        checksum=None,
        serialized_key_size=-1,
        serialized_value_size=-1,
        headers=tuple(headers),
    )


def message(
    ce_type: str,
    ce_id: str = "1",
    /,
    *,
    offset: int = 0,
    source: str | None = None,
    headers: Headers = (),
    **data: Any,
) -> ConsumerRecord:
    """A CloudEvent in binary mode."""
    attributes: list[tuple[str, bytes | None]] = [("ce_id", ce_id.encode()), ("ce_type", ce_type.encode()), *headers]
    if source is not None:
        attributes.append(("ce_source", source.encode()))
    return record(attributes, json.dumps(data).encode(), offset=offset)


class FakeBatch:
    """A batch of at most three records, or as many as are given."""

    def __init__(self, most: int = 3) -> None:
        self._most = most
        self.records: list[tuple[bytes, bytes, dict[str, str]]] = []

    def append(self, *, key: bytes, value: bytes, timestamp: int, headers: list[tuple[str, bytes]]) -> object | None:
        if len(self.records) == self._most:
            return None
        self.records.append((key, value, {name: text.decode() for name, text in headers}))
        return object()


class FakeBroker:
    """A topic. `faults` are met by the sends to come, in turn (None lets one pass); `refusing` takes nothing at all.

    `silent` neither takes nor refuses. `largest` is the number of bytes in the values of a batch, at most.
    """

    def __init__(self, partitions: int = 3) -> None:
        self.partitions = set(range(partitions))
        self.log: defaultdict[int, list[tuple[bytes, bytes, dict[str, str]]]] = defaultdict(list)
        self.faults: list[Exception | None] = []
        self.refusing: set[int] = set()
        self.silent: set[int] = set()
        self.batch_records = 3
        self.largest = 2**31
        self.producers = 0
        self.stopped = 0

    async def start_producer(self) -> "FakeProducer":
        self.producers += 1
        return FakeProducer(self)

    def sequences(self, sku: str) -> list[int]:
        """The sequences of the events of a SKU as they stand in the topic, repeats included."""
        return [
            int(headers["ce_sequence"]) for log in self.log.values() for key, _, headers in log if key == sku.encode()
        ]

    def ids(self, sku: str) -> list[str]:
        return [headers["ce_id"] for log in self.log.values() for key, _, headers in log if key == sku.encode()]


class FakeProducer:
    """What the relay uses of AIOKafkaProducer."""

    def __init__(self, broker: FakeBroker) -> None:
        self._broker = broker

    async def partitions_for(self, topic: str) -> set[int]:
        return self._broker.partitions

    def create_batch(self) -> FakeBatch:
        return FakeBatch(self._broker.batch_records)

    async def send_batch(self, batch: FakeBatch, topic: str, *, partition: int) -> "asyncio.Future[object]":
        acknowledged: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        if partition in self._broker.silent:
            return acknowledged
        fault = self._broker.faults.pop(0) if self._broker.faults else None
        if partition in self._broker.refusing:
            fault = KafkaTimeoutError()
        if sum(len(value) for _, value, _ in batch.records) > self._broker.largest:
            fault = MessageSizeTooLargeError()
        if fault is None:
            self._broker.log[partition] += batch.records
            acknowledged.set_result(object())
        else:
            acknowledged.set_exception(fault)
        return acknowledged

    async def stop(self) -> None:
        self._broker.stopped += 1


class FakeConsumer:
    """What a subscription uses of AIOKafkaConsumer, over one list of records of one partition."""

    def __init__(self, records: Sequence[ConsumerRecord], committed: dict[TopicPartition, int]) -> None:
        self._records = records
        self._committed = committed
        self._position = committed.get(TopicPartition(TOPIC, 0), 0)
        self.mine = True
        self.paused: set[TopicPartition] = set()
        self.mute = False
        self.topic_ids: dict[str, str] = {}
        self.topic_faults: list[Exception] = []
        self.stopped = False
        self.drained = asyncio.Event()

    async def getmany(self, *, timeout_ms: int, max_records: int) -> dict[TopicPartition, list[ConsumerRecord]]:
        await asyncio.sleep(0)
        fetched = [] if self.mute or self.paused else list(self._records[self._position : self._position + max_records])
        if not fetched:
            self.drained.set()
            await asyncio.sleep(0.001)  # poll
            return {}
        self._position += len(fetched)
        return {TopicPartition(TOPIC, 0): fetched}

    def assignment(self) -> set[TopicPartition]:
        return {TopicPartition(TOPIC, 0)} if self.mine else set()

    def pause(self, *partitions: TopicPartition) -> None:
        self.paused.update(partitions)

    def resume(self, *partitions: TopicPartition) -> None:
        self.paused.difference_update(partitions)

    async def commit(self, offsets: dict[TopicPartition, OffsetAndMetadata]) -> None:
        self._committed.update({tp: position.offset for tp, position in offsets.items()})

    async def check_topics(self) -> None:
        """Raise the next fault of the topic."""
        if self.topic_faults:
            raise self.topic_faults.pop(0)

    async def end_offsets(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """The ends, as far as the broker knows them."""
        return {tp: self.highwater(tp) for tp in partitions}

    def highwater(self, tp: TopicPartition) -> int:
        return len(self._records)

    async def position(self, tp: TopicPartition) -> int:
        return self._position

    async def stop(self) -> None:
        self.stopped = True
