"""The baselines: hand-written SQL and a plain Kafka client on the same machine."""

import asyncio
import re
import subprocess
import tempfile
import time

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from bench.stack import Stack

CLIENTS = 16

# One allocation in one hand-written transaction: lock, choose, insert, update the sums, store the event.
ALLOCATE = r"""
\set o random(1, 1000000000000)
\set n random(0, {skus} - 1)
BEGIN;
SELECT sequence AS s FROM products WHERE sku = '{prefix}' || :n::int FOR NO KEY UPDATE \gset
SELECT number AS b, ref AS r FROM batches
 WHERE sku = '{prefix}' || :n::int AND has_stock AND qty - allocated_qty >= 1
 ORDER BY eta NULLS FIRST, number LIMIT 1 \gset
INSERT INTO order_lines (order_id, sku, qty, requested, batch_number, allocated)
 VALUES ('floor-' || :o::bigint, '{prefix}' || :n::int, 1, :s::bigint + 1, :b::bigint, :s::bigint + 1);
UPDATE batches SET allocated_qty = allocated_qty + 1, allocated_lines = allocated_lines + 1
 WHERE sku = '{prefix}' || :n::int AND number = :b::bigint;
UPDATE products SET sequence = :s::bigint + 1 WHERE sku = '{prefix}' || :n::int;
WITH event AS (INSERT INTO events
 (shard, subject, sequence, message_id, type, data, correlation_id, causation_id)
 VALUES (0, '{prefix}' || :n::int, :s::bigint + 1, gen_random_uuid(), 'line_allocated.v1', format(
  '{{"sku":"%s","order_id":"floor-%s","qty":1,"batch_ref":"%s"}}',
  '{prefix}' || :n::int, :o::bigint, :r::text), 'c', 'c') RETURNING id, shard)
INSERT INTO outbox (id, shard) SELECT id, shard FROM event;
COMMIT;
"""


def sql_rate(stack: Stack, prefix: str, skus: int, seconds: int, *, clients: int = CLIENTS) -> float:
    """Allocations per second of hand-written SQL, one for each transaction, driven by pgbench."""
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as script:
        script.write(ALLOCATE.format(prefix=prefix, skus=skus))
        script.flush()
        command = [
            str(stack.embedded.postgresql.bin_dir / "pgbench"),
            *("--no-vacuum", "--protocol=prepared", f"--client={clients}", "--jobs=1", f"--time={seconds}"),
            f"--file={script.name}",
            stack.dsn,
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = re.search(r"tps = ([0-9.]+)", done.stdout)
    if found is None or "number of failed transactions: 0 " not in done.stdout:
        raise RuntimeError(done.stdout + done.stderr)
    return float(found[1])


async def kafka_send_rate(stack: Stack, topic: str, records: list[tuple[bytes, bytes]], headers: int) -> float:
    """Records per second of a plain producer, with one `send` for each and `headers` bytes of headers."""
    producer = AIOKafkaProducer(bootstrap_servers=stack.settings.kafka_bootstrap_servers, acks="all")
    await producer.start()
    padding = [("h", b"x" * headers)]
    try:
        started = time.perf_counter()
        for key, value in records:
            await producer.send(topic, value, key=key, headers=padding)
        await producer.flush()
        return len(records) / (time.perf_counter() - started)
    finally:
        await producer.stop()


async def kafka_pipe_rate(stack: Stack, source: str, target: str, count: int) -> float:
    """Records per second of a plain consumer whose records a plain producer sends again."""
    servers = stack.settings.kafka_bootstrap_servers
    consumer = AIOKafkaConsumer(source, bootstrap_servers=servers, auto_offset_reset="earliest")
    producer = AIOKafkaProducer(bootstrap_servers=servers, acks="all")
    await consumer.start()
    await producer.start()
    try:
        started, done = time.perf_counter(), 0
        while done < count:
            for records in (await consumer.getmany(timeout_ms=200, max_records=256)).values():
                for record in records:
                    await producer.send(target, record.value, key=record.key, headers=list(record.headers))
                    done += 1
        await producer.flush()
        return done / (time.perf_counter() - started)
    finally:
        await producer.stop()
        await consumer.stop()


async def read_all(stack: Stack, topic: str, count: int, seconds: float) -> int:
    """Read a topic from its beginning until `count` records or `seconds`; returns the number of records."""
    consumer = AIOKafkaConsumer(
        topic, bootstrap_servers=stack.settings.kafka_bootstrap_servers, auto_offset_reset="earliest"
    )
    await consumer.start()
    seen = 0
    try:
        async with asyncio.timeout(seconds):
            while seen < count:
                batches = await consumer.getmany(timeout_ms=200)
                seen += sum(len(batch) for batch in batches.values())
    except TimeoutError:
        return seen
    finally:
        await consumer.stop()
    return seen


async def end_of(stack: Stack, topic: str) -> int:
    """The number of records of a topic from which none was deleted.

    Asked until it stays the same, because the embedded broker may report an end that is too early.
    """
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=stack.settings.kafka_bootstrap_servers)
    await consumer.start()
    try:
        end = -1
        while end != (end := sum((await consumer.end_offsets(list(consumer.assignment()))).values())):  # noqa: ASYNC110 - there is no event
            await asyncio.sleep(0.5)
        return end
    finally:
        await consumer.stop()
