"""What has been published, taken into a database that was restored from a backup.

Such a database stands where it stood when the backup was made. Of what came later it knows nothing, while the readers
of the events do: they would take the next events for old ones, since their numbers are.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable
from datetime import datetime
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRecord
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from app.adapters.kafka import KafkaConfig, stop
from app.adapters.messages import shard_of

START_TIMEOUT = 30.0
POLL_TIMEOUT_MS = 1000
MAX_RECORDS = 5000

_CLOCKS = text("SELECT sku, sequence FROM products WHERE sku = ANY(CAST(:skus AS text[]))")
# It is history, and not to be published: nothing points to it from the outbox.
_REMEMBER = text("""
    INSERT INTO events
        (shard, subject, sequence, message_id, type, data, correlation_id, causation_id, traceparent, created_at)
    VALUES (:shard, :subject, :sequence, CAST(:ce_id AS uuid), :ce_type, :data, :ce_correlationid, :ce_causationid,
        :traceparent, CAST(:ce_time AS timestamptz))
""")
# A product that came later is known from now on, without any batch: its next event has to have the next number as well.
_ADVANCE = text("""
    INSERT INTO products (sku, sequence)
    SELECT * FROM unnest(CAST(:skus AS text[]), CAST(:sequences AS bigint[]))
    ON CONFLICT (sku) DO UPDATE SET sequence = excluded.sequence WHERE products.sequence < excluded.sequence
""")


async def published(config: KafkaConfig, topic: str) -> AsyncIterator[list[ConsumerRecord]]:
    """The records of the topic, as far as it goes now, page by page. Raises KafkaError."""
    # Without a group it reads all partitions, and moves nobody's offsets.
    consumer = AIOKafkaConsumer(topic, **config.connection(), enable_auto_commit=False, auto_offset_reset="earliest")
    try:
        async with asyncio.timeout(START_TIMEOUT):
            await consumer.start()
            ends = await consumer.end_offsets(consumer.assignment())
        while [tp for tp, end in ends.items() if await consumer.position(tp) < end]:
            fetched = await consumer.getmany(timeout_ms=POLL_TIMEOUT_MS, max_records=MAX_RECORDS)
            yield [record for records in fetched.values() for record in records]
    finally:
        await stop(consumer)


async def adopt(engine: AsyncEngine, records: Iterable[ConsumerRecord]) -> set[str]:
    """Remember the events that the products are behind of, and set their clocks. Returns the SKUs of those."""
    events = [event for record in records if (event := _event(record))["sequence"] is not None]
    async with engine.begin() as connection:
        skus = list({event["subject"] for event in events})
        clocks = {row.sku: row.sequence for row in await connection.execute(_CLOCKS, {"skus": skus})}
        unknown = {}
        for event in events:
            # Whatever comes a second time is the same.
            if event["sequence"] > clocks.get(event["subject"], 0):
                unknown[event["subject"], event["sequence"]] = event
        if not unknown:
            return set()
        # In the order of the numbers, since the ids of a product's events are in that order.
        await connection.execute(_REMEMBER, [unknown[place] for place in sorted(unknown)])
        last = dict(sorted(unknown))
        await connection.execute(_ADVANCE, {"skus": list(last), "sequences": list(last.values())})
        return set(last)


def _event(record: ConsumerRecord) -> dict[str, Any]:
    headers = {name: value.decode() for name, value in record.headers}
    names = ("ce_id", "ce_type", "ce_correlationid", "ce_causationid", "traceparent")
    subject, sequence = headers["ce_subject"], headers.get("ce_sequence")
    return {
        **{name: headers.get(name) for name in names},
        "ce_time": datetime.fromisoformat(headers["ce_time"]),
        "shard": shard_of(subject),
        "subject": subject,
        "sequence": None if sequence is None else int(sequence),
        "data": record.value.decode(),
    }
