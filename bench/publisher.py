"""Publishes events at a steady rate, as the relay would: to the events topic of the settings.

`python -m bench.publisher PREFIX SKUS RATE SECONDS` prints the number of events and the seconds as JSON.
"""

import asyncio
import json
import sys
import time
import uuid

import uvloop

from app.adapters.kafka import clients
from app.adapters.kafka.clients import KafkaConfig
from app.integration.cloudevents import CloudEvent
from app.settings import Settings

STEP = 0.02
"""Seconds between two sends."""


async def publish(prefix: str, skus: int, rate: float, seconds: float) -> None:
    """Publish the next events of all SKUs in turn."""
    settings = Settings()
    config = KafkaConfig(settings.kafka_bootstrap_servers, idempotent_producer=settings.kafka_idempotent_producer)
    producer = await clients.start_producer(config)
    published, started = 0, time.monotonic()
    try:
        while (elapsed := time.monotonic() - started) < seconds:
            while published < rate * elapsed:
                sku, sequence = f"{prefix}{published % skus}", published // skus + 1
                headers, value = _event(sku, sequence).to_record()
                await producer.send(settings.kafka_events_topic, value, key=sku.encode(), headers=headers)
                published += 1
            await asyncio.sleep(STEP)
        await producer.flush()
    finally:
        await producer.stop()
    print(json.dumps({"published": published, "seconds": time.monotonic() - started}))


def _event(sku: str, sequence: int) -> CloudEvent:
    return CloudEvent(
        id=str(uuid.uuid4()),
        type="line_allocated.v1",
        data=json.dumps({"sku": sku, "order_id": f"order-{sequence}", "qty": 1, "batch_ref": "batch-1"}).encode(),
        source="/bench",
        time="2030-01-01T12:00:00Z",
        subject=sku,
        correlation_id="bench",
        causation_id="bench",
        sequence=str(sequence),
    )


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as main:
        main.run(publish(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4])))
