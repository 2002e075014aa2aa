"""A Kafka client that is stopped at any moment leaves no connection and no task."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aiokafka.conn import AIOKafkaConnection
from aiokafka.protocol.metadata import MetadataRequest

from app.adapters.kafka import clients, lifecycle
from app.adapters.kafka.clients import KafkaConfig
from app.bootstrap import bootstrap
from app.cancellation import cancel
from app.settings import Settings
from tests.support.waiting import eventually

pytestmark = pytest.mark.kafka

TOPIC = "started"

STARTS: dict[str, Callable[[KafkaConfig], Awaitable[object]]] = {
    "producer": clients.start_producer,
    "member of a group": lambda config: clients.start_consumer(config, [TOPIC], "group"),
    "reader": lambda config: clients.start_reader(config, TOPIC),
    "consumer without partitions": clients.start_unassigned,
    "admin": clients.check_broker,
}


class Connections:
    """All connections to brokers, and whether one has been asked for the brokers."""

    def __init__(self) -> None:
        self.made: list[AIOKafkaConnection] = []
        self.asked = asyncio.Event()

    def are_closed(self) -> bool:
        return bool(self.made) and not any(connection.connected() for connection in self.made)


@pytest.fixture
async def config(kafka_settings: Settings) -> AsyncIterator[KafkaConfig]:
    async with bootstrap(kafka_settings) as service:
        await clients.create_topics(service.kafka, [TOPIC])
        yield service.kafka


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> Connections:
    noted, send = Connections(), AIOKafkaConnection.send

    def note_and_send(connection: AIOKafkaConnection, request: object, **options: object) -> object:
        noted.made.append(connection)
        if isinstance(request, MetadataRequest):
            noted.asked.set()
        return send(connection, request, **options)

    monkeypatch.setattr(AIOKafkaConnection, "send", note_and_send)
    return noted


@asynccontextmanager
async def no_task_is_left() -> AsyncIterator[None]:
    before = asyncio.all_tasks()
    yield
    assert asyncio.all_tasks() <= before


@pytest.mark.parametrize("name", STARTS)
async def test_a_start_that_is_cancelled_while_it_asks_for_the_brokers(
    config: KafkaConfig, connections: Connections, name: str
) -> None:
    async with no_task_is_left():
        starting = asyncio.ensure_future(STARTS[name](config))
        await connections.asked.wait()
        await cancel({starting})
        assert starting.cancelled()
    assert connections.are_closed()


async def test_a_start_that_is_cancelled_twice_while_the_broker_does_not_answer(connections: Connections) -> None:
    """The second time while the first one waits for the start to finish."""
    ended = asyncio.Event()

    async def read_without_answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        ended.set()

    async def is_asked() -> bool:
        return bool(connections.made)

    async with await asyncio.start_server(read_without_answer, "127.0.0.1", 0) as server:
        place = "{}:{}".format(*server.sockets[0].getsockname())
        async with no_task_is_left():
            starting = asyncio.ensure_future(clients.start_producer(KafkaConfig(place)))
            await eventually(is_asked)
            starting.cancel()
            await asyncio.sleep(0)  # The first cancellation is taken.
            await cancel({starting})
            assert starting.cancelled()
            assert connections.are_closed(), "aiokafka itself gives up after ten seconds"
            await ended.wait()


async def test_a_member_whose_group_does_not_answer(
    config: KafkaConfig, connections: Connections, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lifecycle, "STOP_TIMEOUT", 0.1)
    async with no_task_is_left():
        consumer = await clients.start_consumer(config, [TOPIC], "group")
        fetcher = consumer._fetcher

        async def is_fetching() -> bool:
            return bool(fetcher._pending_tasks)

        await eventually(is_fetching)
        monkeypatch.setattr(consumer._coordinator, "close", asyncio.Event().wait)
        await lifecycle.stop(consumer)
    assert connections.are_closed()
