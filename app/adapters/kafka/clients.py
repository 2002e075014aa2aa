"""aiokafka clients with safe settings: acknowledgement by all replicas, explicit offsets, bounded waits."""

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, for_code
from aiokafka.structs import OffsetAndMetadata

from app.adapters.kafka import lifecycle
from app.adapters.kafka.group_consumer import GroupConsumer

log = logging.getLogger(__name__)

_TOPIC_EXISTS = 36


@dataclass(frozen=True, slots=True)
class Sasl:
    """Credentials for the broker. The password is excluded from the representation."""

    mechanism: str
    username: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class KafkaConfig:
    """The address of the broker, and the settings of its clients.

    Without `tls` the connection is not encrypted, without `sasl` there is no login. `idempotent_producer` is off only
    for the embedded broker, which does not implement InitProducerId. `session_timeout` (seconds) is the time after
    which the partitions of a dead consumer are reassigned.
    """

    bootstrap_servers: str
    tls: ssl.SSLContext | None = None
    sasl: Sasl | None = None
    idempotent_producer: bool = True
    session_timeout: float = 6.0
    topic_partitions: int = 6
    topic_replication: int = 1

    def connection(self) -> dict[str, Any]:
        """The connection arguments of every client."""
        sasl = self.sasl
        arguments: dict[str, Any] = {
            "bootstrap_servers": self.bootstrap_servers,
            "security_protocol": ("SASL_" if sasl else "") + ("SSL" if self.tls else "PLAINTEXT"),
            "ssl_context": self.tls,
        }
        if sasl is not None:
            arguments |= {
                "sasl_mechanism": sasl.mechanism,
                "sasl_plain_username": sasl.username,
                "sasl_plain_password": sasl.password,
            }
        return arguments


_Client = TypeVar("_Client", AIOKafkaProducer, AIOKafkaConsumer, GroupConsumer)


async def _started(client: _Client, seconds: float, prepare: Callable[[], Awaitable[object]] | None = None) -> _Client:
    try:
        async with asyncio.timeout(seconds):
            await lifecycle.start(client)
            if prepare is not None:
                await prepare()
    except BaseException:
        await lifecycle.stop(client)
        raise
    return client


@asynccontextmanager
async def _admin(
    config: KafkaConfig, *, seconds: float = 10.0, request_timeout_ms: int = 5_000
) -> AsyncIterator[AIOKafkaAdminClient]:
    """A connected admin client. The block may take `seconds` in all."""
    admin = AIOKafkaAdminClient(**config.connection(), request_timeout_ms=request_timeout_ms)
    try:
        async with asyncio.timeout(seconds):
            await lifecycle.start(admin)
            yield admin
    finally:
        await lifecycle.stop(admin)


async def start_producer(config: KafkaConfig) -> AIOKafkaProducer:
    """A connected producer. Raises KafkaError."""
    producer = AIOKafkaProducer(
        **config.connection(),
        acks="all",
        enable_idempotence=config.idempotent_producer,
        max_batch_size=512 * 1024,
        request_timeout_ms=10_000,
        retry_backoff_ms=50,
        metadata_max_age_ms=10_000,
    )
    return await _started(producer, 15)


async def start_consumer(config: KafkaConfig, topics: Collection[str], group_id: str) -> GroupConsumer:
    """A consumer that has joined its group, without automatic commits. Raises KafkaError."""
    consumer = GroupConsumer(
        **config.connection(),
        group_id=group_id,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        session_timeout_ms=int(config.session_timeout * 1000),
        heartbeat_interval_ms=int(config.session_timeout * 250),
        # A handler may wait for its database or its mail server without a limit.
        max_poll_interval_ms=24 * 3600 * 1000,
        request_timeout_ms=15_000,
        metadata_max_age_ms=10_000,
        retry_backoff_ms=100,
        fetch_max_wait_ms=100,
    )
    consumer.subscribe_to(topics)
    return await _started(consumer, 30)


async def start_reader(config: KafkaConfig, topic: str) -> AIOKafkaConsumer:
    """A consumer without a group that reads the topic from its end on. Raises KafkaError."""
    reader = AIOKafkaConsumer(
        topic,
        **config.connection(),
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="latest",
        request_timeout_ms=10_000,
        fetch_max_wait_ms=100,
    )
    return await _started(reader, 15, reader.seek_to_end)


async def start_unassigned(config: KafkaConfig) -> AIOKafkaConsumer:
    """A consumer without a group and without partitions, for reads at positions of the caller. Raises KafkaError.

    A position that is not kept raises OffsetOutOfRangeError.
    """
    consumer = AIOKafkaConsumer(
        **config.connection(),
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="none",
        request_timeout_ms=5_000,
        retry_backoff_ms=100,
        fetch_max_wait_ms=100,
        max_partition_fetch_bytes=256 * 1024,
    )
    return await _started(consumer, 5)


async def lags_of(
    config: KafkaConfig, reader: AIOKafkaConsumer, groups: Mapping[str, Collection[str]]
) -> dict[str, int]:
    """The lag of each consumer group in its topics. Raises KafkaError, TimeoutError.

    `reader` returns the end offsets; it may be reading any topic.
    """
    _, topics = await describe_topics(config, {name for names in groups.values() for name in names})
    lags = {}
    async with _admin(config) as admin:
        for group, names in groups.items():
            states = [topics[name] for name in names if name in topics]
            every = [TopicPartition(state.name, number) for state in states for number in range(state.partitions)]
            # By partition: the embedded broker does not implement the request for all.
            committed = await admin.list_consumer_group_offsets(group, partitions=every) if every else {}
            # A partition without a committed offset is read from its beginning.
            begin, end = await reader.beginning_offsets(every), await reader.end_offsets(every)
            # A broker may return an end offset that is older than the commit, so the lag is at least 0.
            lags[group] = sum(max(0, end[each] - _position(committed.get(each), begin[each])) for each in every)
    return lags


def _position(committed: OffsetAndMetadata | None, begin: int) -> int:
    return begin if committed is None or committed.offset < begin else int(committed.offset)


async def create_topics(config: KafkaConfig, topics: Sequence[str]) -> None:
    """Create the topics that are missing. Raises KafkaError."""
    async with _admin(config, seconds=15.0, request_timeout_ms=10_000) as admin:
        missing = sorted(set(topics) - set(await admin.list_topics()))
        if not missing:
            return
        response = await admin.create_topics(
            [NewTopic(name, config.topic_partitions, config.topic_replication) for name in missing]
        )
    for name, code, text in response.topic_errors:
        if code not in {0, _TOPIC_EXISTS}:
            raise for_code(code)(f"topic {name}: {text}")
    log.info("created the topics %s", ", ".join(missing))


@dataclass(frozen=True, slots=True)
class TopicState:
    """A topic on the broker. `leaderless` and `under_replicated` count partitions."""

    name: str
    partitions: int
    replication: int
    leaderless: int
    under_replicated: int


async def describe_topics(config: KafkaConfig, topics: Collection[str]) -> tuple[int, dict[str, TopicState]]:
    """The number of brokers, and the state of each topic that exists. Raises KafkaError, TimeoutError.

    Only existing topics are described: a broker may create a topic that it is asked for.
    """
    async with _admin(config) as admin:
        cluster = await admin.describe_cluster()
        existing = sorted(set(topics) & set(await admin.list_topics()))
        described = await admin.describe_topics(existing) if existing else []
    states = (_state(topic["topic"], topic["partitions"]) for topic in described)
    return len(cluster["brokers"]), {state.name: state for state in states}


async def largest_batch(config: KafkaConfig, topic: str) -> int | None:
    """The limit of the topic for a batch of records, in bytes; None if the broker does not return it."""
    resource = ConfigResource(ConfigResourceType.TOPIC, topic, {"max.message.bytes": None})
    try:
        async with _admin(config) as admin:
            (answer,) = await admin.describe_configs([resource])
        return next(int(entry[1]) for found in answer.resources for entry in found[4])
    except (KafkaError, TimeoutError, StopIteration) as error:
        log.info("the limit of the topic %s is unknown: %r", topic, error)
        return None


def _state(name: str, partitions: Sequence[Mapping[str, Any]]) -> TopicState:
    return TopicState(
        name,
        partitions=len(partitions),
        replication=min((len(each["replicas"]) for each in partitions), default=0),
        leaderless=sum(each["leader"] < 0 for each in partitions),
        under_replicated=sum(len(each["isr"]) < len(each["replicas"]) for each in partitions),
    )


async def check_broker(config: KafkaConfig) -> None:
    """Check that the broker answers. Raises KafkaError, TimeoutError."""
    async with _admin(config) as admin:
        await admin.list_topics()
