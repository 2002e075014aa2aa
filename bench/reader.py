"""An independent reader of the events topic: `python -m bench.reader TOPIC SKU_PREFIX`.

It prints "open" when it will see every later event. From its input it reads a number. When it has seen that many lines
of the SKUs allocated, it prints when it saw the last one (Unix time) and its processor time, as JSON.
"""

import asyncio
import json
import sys
import time

import uvloop
from aiokafka import AIOKafkaConsumer

from app.settings import Settings

GIVE_UP = 60.0
"""Seconds without an event, after which it reports what it has seen."""


_ALLOCATED = ("ce_type", b"line_allocated.v1")


async def read(topic: str, prefix: bytes) -> None:
    """Read until the input's number of events is reached."""
    settings = Settings()
    consumer = AIOKafkaConsumer(
        topic,
        bootstrap_servers=settings.kafka_bootstrap_servers,
        auto_offset_reset="latest",
        fetch_max_wait_ms=50,
        max_partition_fetch_bytes=10_000_000,
    )
    await consumer.start()
    try:
        await consumer.seek_to_end()
        for partition in consumer.assignment():
            await consumer.position(partition)
        print("open", flush=True)
        used = time.process_time()
        expected = asyncio.create_task(asyncio.to_thread(sys.stdin.readline))
        seen, last = 0, time.time()
        while not (expected.done() and seen >= int(expected.result())) and time.time() - last < GIVE_UP:
            batches = await consumer.getmany(timeout_ms=50)
            records = (record for batch in batches.values() for record in batch)
            found = sum(_ALLOCATED in record.headers and record.key.startswith(prefix) for record in records)
            if found:
                seen, last = seen + found, time.time()
        print(json.dumps({"seen": seen, "last": last, "processor_seconds": time.process_time() - used}), flush=True)
    finally:
        await consumer.stop()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as main:
        main.run(read(sys.argv[1], sys.argv[2].encode()))
