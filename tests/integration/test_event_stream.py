"""The stream of events over a socket, with a broker."""

import asyncio
import os
import socket
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import httpx
import pytest

from app.adapters.kafka import feed as kafka_feed
from app.bootstrap import Service, bootstrap
from app.entrypoints.http import event_stream
from app.entrypoints.http.board.route import COOKIE
from app.entrypoints.listening import listen, url_of
from app.entrypoints.server import serve
from app.settings import Settings
from tests.support.api import Api, assert_invalid, assert_problem
from tests.support.event_stream import sequences_of, streaming
from tests.support.feed import Topic, available, page, topic_of
from tests.support.keys import add_key
from tests.support.waiting import eventually

pytestmark = pytest.mark.kafka

STREAMS = 200
GRACE = 5.0


class Running:
    """A served application. `stop` is what SIGTERM does."""

    def __init__(self, service: Service, client: httpx.AsyncClient, held: int, serving: "asyncio.Task[None]") -> None:
        self.service = service
        self.client = client
        self.serving = serving
        self._held: int | None = held

    def stop(self) -> None:
        if self._held is not None:
            os.close(self._held)
            self._held = None


@asynccontextmanager
async def served(settings: Settings, port: int = 0) -> AsyncIterator[Running]:
    """The service behind a socket, following the topic."""
    started = asyncio.Event()
    limits = httpx.Limits(max_connections=None)
    alive, held = os.pipe()
    with listen("127.0.0.1", port) as listener:
        async with (
            bootstrap(settings) as service,
            httpx.AsyncClient(base_url=url_of(listener), timeout=60, limits=limits) as client,
        ):
            serving = asyncio.create_task(serve(service, listener, on_started=started.set, parent_pipe=alive))
            starting = asyncio.create_task(started.wait())
            await asyncio.wait({starting, serving}, return_when=asyncio.FIRST_COMPLETED)
            if serving.done():
                starting.cancel()
                serving.result()
            running = Running(service, client, held, serving)
            try:
                if settings.auth == "none":
                    await available(Api(client))
                yield running
            finally:
                running.stop()
                await serving
                os.close(alive)


@pytest.fixture
async def topic(kafka_settings: Settings) -> AsyncIterator[Topic]:
    async with bootstrap(kafka_settings) as service, topic_of(service) as created:
        yield created


@pytest.fixture
async def running(kafka_settings: Settings, topic: Topic) -> AsyncIterator[Running]:
    async with served(kafka_settings.model_copy(update={"shutdown_grace": GRACE})) as run:
        yield run


async def test_a_stream_begins_with_a_ping_and_has_each_event(running: Running, topic: Topic) -> None:
    async with streaming(running.client) as stream:
        first = await stream.next()
        assert (first.event, first.data) == ("ping", {})
        assert 1000 <= (stream.retry or 0) <= 5000
        await topic.publish("CHAIR", [1, 2, 3])
        message = await stream.next()
        assert message.event == "line_allocated.v1", message
        assert message.data["type"] == "line_allocated.v1"
        assert sequences_of([message.data, *await stream.events(2)]) == [1, 2, 3]


async def test_last_event_id_continues_behind_that_event_and_beats_the_cursor(running: Running, topic: Topic) -> None:
    await topic.publish("CHAIR", range(1, 21))
    seen: list[int] = []
    last = "earliest"
    while len(seen) < 20:
        async with streaming(running.client, headers={"Last-Event-ID": last}, cursor="earliest", limit=3) as stream:
            messages = [message async for message in stream.messages]
        assert [each.event for each in messages if each.event in {"ping", "end"}] in (["ping", "end"], ["ping"])
        seen += sequences_of([each.data for each in messages if each.event not in {"ping", "end"}])
        last = messages[-1].id
        if len(seen) == 18:
            await topic.publish("CHAIR", [21])
    assert seen[:20] == list(range(1, 21))


async def test_filters_leave_events_out_and_a_ping_moves_the_cursor_past_them(
    running: Running, topic: Topic, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_stream, "PING_SECONDS", 0.2)
    async with streaming(running.client, sku="TABLE") as stream:
        before = await stream.next()
        await topic.publish("CHAIR", [1, 2])

        async def has_moved() -> bool:
            message = await stream.next()
            assert message.event == "ping"
            return message.id != before.id

        await eventually(has_moved)
        await eventually(lambda: moved_past(running, stream.last_id))
        await topic.publish("TABLE", [1])
        assert [each["subject"] for each in await stream.events(1)] == ["TABLE"]


async def moved_past(running: Running, cursor: str) -> bool:
    """Whether both events are before the cursor."""
    return len((await page(Api(running.client), cursor=cursor))["events"]) <= 1


async def test_nothing_is_lost_or_doubled_over_a_restart_of_the_service(kafka_settings: Settings, topic: Topic) -> None:
    seen: list[int] = []
    last = "earliest"
    for number in range(3):
        async with served(kafka_settings) as run:
            first = 1 + 10 * number
            async with streaming(run.client, headers={"Last-Event-ID": last}) as stream:
                await topic.publish("CHAIR", range(first, first + 5))
                seen += sequences_of(await stream.events(5 if number == 0 else 10))
                last = stream.last_id
        await topic.publish("CHAIR", range(first + 5, first + 10))
    assert seen == list(range(1, 26))


async def test_head_has_the_headers_and_ends(running: Running) -> None:
    answer = await running.client.head("/v1/events/stream")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")


@pytest.mark.parametrize("place", ["header", "query"])
async def test_other_text_is_not_a_cursor(running: Running, place: str) -> None:
    if place == "header":
        answer = await running.client.get("/v1/events/stream", headers={"Last-Event-ID": "x"})
        assert_invalid(answer, ["header", "Last-Event-ID"])
    else:
        assert_invalid(await running.client.get("/v1/events/stream?cursor=x"), ["query", "cursor"])


async def test_streams_beyond_the_limit_are_refused_and_do_not_count_as_requests(
    kafka_settings: Settings, topic: Topic
) -> None:
    few = kafka_settings.model_copy(update={"http_max_streams": 5, "http_max_concurrent": 3})
    async with served(few) as run, AsyncExitStack() as stack:
        opened = 0
        # A stream may end because the broker is slow, and then another one is accepted. Reading an accepted one would
        # not end.
        while (refused := await stack.enter_async_context(run.client.stream("GET", "/v1/events/stream"))).is_success:
            opened += 1
            assert opened < 20
        await refused.aread()
        assert opened >= 5
        assert_problem(refused, 503, "overloaded")
        assert refused.headers["retry-after"] == "1"
        assert_problem(await run.client.get("/v1/events?wait=1"), 503, "overloaded")
        answers = await asyncio.gather(*(run.client.get("/v1/batches/none") for _ in range(3)))
        assert {answer.status_code for answer in answers} == {404}
        await stack.aclose()

        async def is_free() -> bool:
            async with run.client.stream("GET", "/v1/events/stream") as answer:
                return answer.status_code == 200

        await eventually(is_free)


async def test_sigterm_ends_all_streams_and_waiting_requests_at_once(running: Running) -> None:
    async with AsyncExitStack() as stack:
        streams = [await stack.enter_async_context(streaming(running.client)) for _ in range(STREAMS)]
        await asyncio.gather(*(stream.next() for stream in streams))
        waiting = [asyncio.create_task(page(Api(running.client), wait=30)) for _ in range(10)]
        await eventually(lambda: has_streams(running, STREAMS + 10))
        started = time.monotonic()
        running.stop()
        assert {await stream.end() for stream in streams} == {"stopping"}
        assert [answer["events"] for answer in await asyncio.gather(*waiting)] == [[]] * 10
        await running.serving
        assert time.monotonic() - started < GRACE


async def test_a_reader_that_does_not_read_is_cut_off(kafka_settings: Settings, topic: Topic) -> None:
    async with served(kafka_settings.model_copy(update={"http_read_timeout": 1.0})) as run:
        url = run.client.base_url
        with socket.socket() as slow:
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            slow.connect((url.host, url.port))
            slow.sendall(b"GET /v1/events/stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await eventually(lambda: has_streams(run, 1))
            sequence = 0

            async def is_cut_off() -> bool:
                nonlocal sequence
                await topic.publish("CHAIR", range(sequence + 1, sequence + 501))
                sequence += 500
                return await has_streams(run, 0)

            await eventually(is_cut_off)


async def has_streams(run: Running, count: int) -> bool:
    """Whether this number of streams is open."""
    metrics = (await run.client.get("/metrics")).text
    return f"\nallocation_feed_streams {count:.1f}\n" in metrics


async def test_a_stream_whose_place_has_left_the_memory_ends(running: Running, topic: Topic) -> None:
    async with streaming(running.client) as stream:
        await stream.next()
        feed = running.service.feed
        assert isinstance(feed, kafka_feed.KafkaFeed)
        feed.ring._max_events = 2
        await topic.publish("CHAIR", range(1, 51))
        assert await stream.end() == "too-slow"


@pytest.mark.parametrize("path", ["/v1/events/stream", "/board/stream"])
async def test_a_withdrawn_key_ends_its_stream_at_the_next_ping(
    kafka_settings: Settings, topic: Topic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setattr(event_stream, "PING_SECONDS", 0.3)
    file = tmp_path / "keys.toml"
    key = add_key(file, "board", ["read"])
    headers = {"Cookie": f"{COOKIE}={key}"} if path == "/board/stream" else {"X-API-Key": key}
    async with served(kafka_settings.model_copy(update={"auth": "api-keys", "api_keys_file": file})) as run:
        assert_problem(await run.client.get(path), 401, "unauthenticated")

        async def is_open() -> bool:
            return (await run.client.get("/v1/events", headers={"X-API-Key": key})).status_code == 200

        await eventually(is_open)
        async with streaming(run.client, path, headers=headers) as stream:
            assert (await stream.next()).event == (await stream.next()).event == "ping"
            file.write_text("keys = []\n")
            assert await stream.end() == "unauthenticated"


async def test_many_streams_see_each_event_once_in_order_and_memory_is_bounded(running: Running, topic: Topic) -> None:
    async with AsyncExitStack() as stack:
        streams = [await stack.enter_async_context(streaming(running.client)) for _ in range(50)]
        await asyncio.gather(*(stream.next() for stream in streams))
        reading = [asyncio.create_task(stream.events(500)) for stream in streams]
        await topic.publish("CHAIR", range(1, 501))
        for events in await asyncio.gather(*reading):
            assert sequences_of(events) == list(range(1, 501))
        assert len(event_stream._chunks) < 20


async def test_a_stream_of_a_topic_that_was_created_again_ends(running: Running, topic: Topic) -> None:
    async with streaming(running.client) as stream:
        await stream.next()
        await topic.create_again()
        assert await stream.end() == "cursor-expired"
        answer = await running.client.get("/v1/events/stream", headers={"Last-Event-ID": stream.last_id})
        assert_problem(answer, 410, "cursor-expired")


async def test_a_caller_that_disconnects_frees_its_place(running: Running) -> None:
    async with streaming(running.client) as stream:
        await stream.next()
        await eventually(lambda: has_streams(running, 1))
    await eventually(lambda: has_streams(running, 0))
