"""What has been published, beside the clocks of the products: for a database that was restored from a backup.

Such a database stands where it stood when the backup was made. Of what came later it knows nothing, while the readers
of the events do: they would take the next events for old ones, since their numbers are.
"""

import asyncio
from collections.abc import Mapping

from aiokafka import AIOKafkaConsumer
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from app.adapters.kafka import KafkaConfig, stop

START_TIMEOUT = 30.0
POLL_TIMEOUT_MS = 1000
MAX_RECORDS = 5000
PRODUCTS_AT_ONCE = 5000

# A product that came later is known from now on, without any batch: its next event has to have the next number as well.
_ADVANCE = text("""
    INSERT INTO products (sku, sequence)
    SELECT * FROM unnest(CAST(:skus AS text[]), CAST(:sequences AS bigint[]))
    ON CONFLICT (sku) DO UPDATE SET sequence = excluded.sequence WHERE products.sequence < excluded.sequence
    RETURNING sku
""")


async def last_sequences(config: KafkaConfig, topic: str) -> dict[str, int]:
    """The largest `ce_sequence` of each SKU in the topic, as far as it goes now. Raises KafkaError."""
    # Without a group it reads all partitions, and moves nobody's offsets.
    consumer = AIOKafkaConsumer(topic, **config.connection(), enable_auto_commit=False, auto_offset_reset="earliest")
    largest: dict[str, int] = {}
    try:
        async with asyncio.timeout(START_TIMEOUT):
            await consumer.start()
            ends = await consumer.end_offsets(consumer.assignment())
        while [tp for tp, end in ends.items() if await consumer.position(tp) < end]:
            fetched = await consumer.getmany(timeout_ms=POLL_TIMEOUT_MS, max_records=MAX_RECORDS)
            for record in (record for records in fetched.values() for record in records):
                headers = dict(record.headers)
                if "ce_sequence" in headers:
                    sku, sequence = headers["ce_subject"].decode(), int(headers["ce_sequence"])
                    largest[sku] = max(sequence, largest.get(sku, 0))
    finally:
        await stop(consumer)
    return largest


async def advance_clocks(engine: AsyncEngine, sequences: Mapping[str, int]) -> int:
    """Set the clocks that are behind to these numbers, each product's to its own. Returns how many were behind."""
    pairs, advanced = sorted(sequences.items()), 0
    for start in range(0, len(pairs), PRODUCTS_AT_ONCE):
        page = pairs[start : start + PRODUCTS_AT_ONCE]
        parameters = {"skus": [sku for sku, _ in page], "sequences": [sequence for _, sequence in page]}
        async with engine.begin() as connection:
            advanced += len((await connection.execute(_ADVANCE, parameters)).all())
    return advanced
