"""The official CloudEvents SDK on both ends, over librdkafka: its events are read, and it reads the service's."""

import json
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from cloudevents.core.bindings.kafka import (
    KafkaMessage,
    from_kafka_event,
    to_binary_event,
    to_structured_event,
)
from cloudevents.core.v1.event import CloudEvent
from cloudevents.v1.http import CloudEvent as CloudEventBefore2
from cloudevents.v1.kafka import KafkaMessage as KafkaMessageBefore2
from cloudevents.v1.kafka import to_binary as to_binary_before_2
from cloudevents.v1.kafka import to_structured as to_structured_before_2

from tests.e2e.conftest import World
from tests.support.api import new
from tests.support.wire import Published

pytestmark = pytest.mark.kafka

SOURCE = "https://purchasing.example/orders"
Message = KafkaMessage | KafkaMessageBefore2
Encode = Callable[[dict[str, Any], dict[str, Any]], Message]


def binary(attributes: dict[str, Any], data: dict[str, Any]) -> Message:
    return to_binary_event(CloudEvent(attributes, data))


def structured(attributes: dict[str, Any], data: dict[str, Any]) -> Message:
    return to_structured_event(CloudEvent(attributes, data))


def binary_before_2(attributes: dict[str, Any], data: dict[str, Any]) -> Message:
    return to_binary_before_2(CloudEventBefore2(attributes, data))


def structured_before_2(attributes: dict[str, Any], data: dict[str, Any]) -> Message:
    return to_structured_before_2(CloudEventBefore2(attributes, data))


def send(world: World, message: Message) -> None:
    value = message.value if isinstance(message.value, bytes) else message.value.encode()
    world.wire.send_raw(list(message.headers.items()), value, key=message.key)


def read_by_sdk(event: Published) -> Any:  # noqa: ANN401 - the SDK's own protocol
    headers = {name: value.encode() for name, value in event.headers.items()}
    return from_kafka_event(KafkaMessage(headers, event.key, event.value))


@pytest.mark.parametrize("encode", [binary, structured, binary_before_2, structured_before_2])
async def test_an_event_of_the_sdk_takes_effect_and_the_sdk_reads_what_follows(world: World, encode: Encode) -> None:
    sku, conversation, trace = new("sku"), new("conversation"), uuid.uuid4().hex
    attributes = {
        "id": new("id"),
        "source": SOURCE,
        "type": "batch_created.v1",
        "datacontenttype": "application/json",
        "correlationid": conversation,
        "traceparent": f"00-{trace}-{uuid.uuid4().hex[:16]}-01",
        "tracestate": "vendor=1",
        "partitionkey": sku,
    }
    data = {"ref": new("batch"), "sku": sku, "qty": 3}

    # Twice: a redelivery is recognised by the attributes that the SDK sends.
    for _ in range(2):
        send(world, encode(dict(attributes), data))
    world.wire.send("batch_created.v1", {"ref": new("batch"), "sku": sku, "qty": 1}, key=sku)

    event, behind = await world.wire.events(sku, 2)
    assert behind.data["qty"] == 1, "the second delivery had an effect"
    read = read_by_sdk(event)
    assert (read.get_type(), read.get_source(), read.get_subject()) == ("batch_created.v1", "/allocation", sku)
    assert (read.get_specversion(), read.get_datacontenttype()) == ("1.0", "application/json")
    assert read.get_id() == event.headers["ce_id"]
    assert read.get_time().utcoffset().total_seconds() == 0
    assert read.get_data() == json.loads(event.value) == {**data, "eta": None}
    assert int(read.get_extension("sequence")) == 1
    assert read.get_extension("correlationid") == conversation
    assert read.get_extension("causationid") == attributes["id"]
    assert read.get_extension("traceparent").split("-")[1] == trace


async def test_the_identity_of_an_event_of_the_sdk_is_its_source_and_its_id(world: World) -> None:
    sku, message_id = new("sku"), new("id")
    for number, encode in enumerate((binary, structured)):
        attributes = {"id": message_id, "source": f"/source-{number}", "type": "batch_created.v1", "partitionkey": sku}
        send(world, encode(attributes, {"ref": new("batch"), "sku": sku, "qty": number + 1}))

    assert [event.data["qty"] for event in await world.wire.events(sku, 2)] == [1, 2]
