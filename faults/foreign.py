"""Records outside of the load: repeats, poison, and messages of the faults."""

import asyncio
import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

from aiokafka import AIOKafkaProducer
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy
from confluent_kafka import KafkaError, Message, Producer

SECONDS = 30.0
LARGEST = 1_048_588
"""The default maximum size of a record batch in a broker, its header included."""

Header = tuple[str | bytes, bytes | None]


@dataclass(frozen=True, slots=True)
class Record:
    """A record as bytes, not necessarily a message."""

    key: bytes | None
    value: bytes | None
    headers: Sequence[Header] = ()

    def named(self) -> list[tuple[str, str | bytes | None]]:
        """The headers for confluent-kafka. Raises TypeError if a name is not text."""
        if any(isinstance(name, bytes) for name, _ in self.headers):
            raise TypeError("a header has a name that is not text")
        return [(str(name), value) for name, value in self.headers]


@dataclass(frozen=True, slots=True)
class Place:
    """The topic, partition and offset of a record."""

    partition: int
    offset: int


class Sender:
    """Sends records of any kind to one topic. Use it as a context manager, from one thread."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        """Store the configuration."""
        self._bootstrap = bootstrap
        self._topic = topic
        # A retried record would be stored twice, and the expected number would be unknown.
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap,
                "enable.idempotence": True,
                "linger.ms": 0,
                "partitioner": "murmur2_random",
                "message.max.bytes": 2 * LARGEST,
                "message.timeout.ms": 1000 * int(SECONDS),
                "log_level": 0,
            }
        )

    def send(self, records: Sequence[Record]) -> list[Place]:
        """Send the records and wait until the broker has acknowledged all. Raises RuntimeError if it refuses one."""
        if any(isinstance(name, bytes) for record in records for name, _ in record.headers):
            return asyncio.run(self._send_any_names(records))
        places: dict[int, Place] = {}
        errors: list[KafkaError] = []

        def note(number: int, error: KafkaError | None, message: Message) -> None:
            if error is not None:
                errors.append(error)
            else:
                places[number] = Place(message.partition() or 0, message.offset() or 0)

        for number, record in enumerate(records):
            self._producer.produce(
                self._topic,
                key=record.key,
                value=record.value,
                headers=record.named(),
                on_delivery=partial(note, number),
            )
        self._producer.flush(SECONDS)
        if len(places) < len(records):
            raise RuntimeError(f"the broker did not take {len(records) - len(places)} of {len(records)}: {errors[:1]}")
        return [places[number] for number in range(len(records))]

    async def _send_any_names(self, records: Sequence[Record]) -> list[Place]:
        """Send records with header names that are not text, which ordinary clients do not send."""
        places = []
        async with AIOKafkaProducer(bootstrap_servers=self._bootstrap) as producer:
            partitions = sorted(await producer.partitions_for(self._topic))
            for record in records:
                batch = producer.create_batch()
                batch._builder = _AnyNames(2, 0, 0, -1, -1, 0, 2 * LARGEST)  # noqa: SLF001 - there is no public way
                headers = [(_Name(name), value) for name, value in record.headers]
                batch.append(key=record.key, value=record.value, timestamp=int(time.time() * 1000), headers=headers)
                partition = partitions[zlib.crc32(record.key or b"") % len(partitions)]
                sent = await (await producer.send_batch(batch, self._topic, partition=partition))
                places.append(Place(partition, sent.offset))
        return places

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._producer.purge()
        self._producer.flush(1)


class _Name(str):
    """A header name of arbitrary bytes."""

    __slots__ = ("_bytes",)
    _bytes: bytes

    def __new__(cls, name: str | bytes) -> Self:
        made = super().__new__(cls, name if isinstance(name, str) else name.decode(errors="replace"))
        made._bytes = name.encode() if isinstance(name, str) else name
        return made

    def encode(self, *_: Any) -> bytes:
        return self._bytes


class _AnyNames(_DefaultRecordBatchBuilderPy):  # type: ignore[misc] # aiokafka has no types
    """A batch that writes header names unchanged; the builder in C accepts text only."""

    def set_producer_state(self, *_: Any) -> None:
        return
