"""The id of a topic, which is another one after the topic was deleted and created again.

aiokafka sends version 5 of the Metadata request, whose response has no ids. This module defines version 12 (Apache
Kafka 3.1 and later) with aiokafka's own types.

Source: https://kafka.apache.org/protocol.html#The_Messages_Metadata
"""

# mypy: disable-error-code="misc"

from dataclasses import dataclass
from io import BytesIO
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaConnectionError, UnknownTopicOrPartitionError, for_code
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import (
    Boolean,
    CompactArray,
    CompactString,
    Int16,
    Int32,
    Schema,
    TaggedFields,
)

_NO_ID = bytes(16)


class _Uuid:
    @classmethod
    def encode(cls, value: bytes) -> bytes:
        return value

    @classmethod
    def decode(cls, data: BytesIO) -> bytes:
        return data.read(16)

    @classmethod
    def repr(cls, value: bytes) -> str:
        return value.hex()


class _MetadataResponse(Response):
    API_KEY = 3
    API_VERSION = 12
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "brokers",
            CompactArray(
                ("node_id", Int32),
                ("host", CompactString()),
                ("port", Int32),
                ("rack", CompactString()),
                ("tags", TaggedFields),
            ),
        ),
        ("cluster_id", CompactString()),
        ("controller_id", Int32),
        (
            "topics",
            CompactArray(
                ("error_code", Int16),
                ("name", CompactString()),
                ("topic_id", _Uuid),
                ("is_internal", Boolean),
                (
                    "partitions",
                    CompactArray(
                        ("error_code", Int16),
                        ("partition_index", Int32),
                        ("leader_id", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", CompactArray(Int32)),
                        ("isr", CompactArray(Int32)),
                        ("offline_replicas", CompactArray(Int32)),
                        ("tags", TaggedFields),
                    ),
                ),
                ("topic_authorized_operations", Int32),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class _MetadataStruct(RequestStruct):
    API_KEY = 3
    API_VERSION = 12
    RESPONSE_TYPE = _MetadataResponse
    FLEXIBLE_VERSION = True
    SCHEMA = Schema(
        ("topics", CompactArray(("topic_id", _Uuid), ("name", CompactString()), ("tags", TaggedFields))),
        ("allow_auto_topic_creation", Boolean),
        ("include_topic_authorized_operations", Boolean),
        ("tags", TaggedFields),
    )


class _MetadataRequest(Request[_MetadataStruct]):
    API_KEY = 3

    def __init__(self, topic: str) -> None:
        self._topic = topic

    def build(self, request_struct_class: type[_MetadataStruct]) -> _MetadataStruct:
        return request_struct_class([(_NO_ID, self._topic, {})], False, False, {})  # noqa: FBT003 - fields by position


@dataclass(frozen=True, slots=True)
class TopicIdentity:
    """A topic: its id, and its number of partitions, which can grow."""

    id: bytes
    partitions: int


async def identify(consumer: AIOKafkaConsumer, topic: str) -> TopicIdentity:
    """The identity of the topic, which is not created. Raises UnknownTopicOrPartitionError, KafkaError."""
    client = consumer._client  # noqa: SLF001 - aiokafka's consumer sends no request of others
    node = client.get_random_node()
    if node is None:
        raise KafkaConnectionError("no broker is known")
    response: Any = await client.send(node, _MetadataRequest(topic))
    (found,) = response.topics
    error, topic_id, partitions = found[0], found[2], found[4]
    if error:
        raise for_code(error)(f"the topic {topic}: {for_code(error).__name__}")
    if not partitions:
        raise UnknownTopicOrPartitionError(f"the topic {topic} has no partition yet")
    return TopicIdentity(topic_id, len(partitions))
