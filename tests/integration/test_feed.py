"""The feed over HTTP, with a broker."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from app.adapters.kafka import feed as kafka_feed
from app.adapters.kafka import topic_log
from app.adapters.kafka.feed_ring import Ring
from app.bootstrap import Service, bootstrap
from app.domain.commands import Allocate, CreateBatch
from app.embedded.broker import EmbeddedBroker
from app.entrypoints import components
from app.service_layer.feed import FeedFilter, FeedUnavailableError
from app.settings import Settings
from tests.support.apache_kafka import ApacheKafka
from tests.support.api import Api, assert_invalid, assert_problem
from tests.support.database import play
from tests.support.feed import Topic, following, page, read, sequences, starting, topic_of
from tests.support.waiting import eventually

pytestmark = pytest.mark.kafka

SKUS = ("CHAIR", "TABLE", "LAMP", "SHELF")


@pytest.fixture
async def service(kafka_settings: Settings) -> AsyncIterator[Service]:
    async with bootstrap(kafka_settings) as wired:
        yield wired


@pytest.fixture
async def topic(service: Service) -> AsyncIterator[Topic]:
    async with topic_of(service) as created:
        yield created


@pytest.fixture
async def api(service: Service, topic: Topic) -> AsyncIterator[Api]:
    async with following(service) as caller:
        yield caller


async def test_an_allocation_appears_as_the_cloudevent_that_kafka_has(service: Service, api: Api) -> None:
    async with components.running([components.relay(service)]):
        start = (await page(api))["next_cursor"]
        await play(service.bus, CreateBatch(ref="batch-1", sku="CHAIR", qty=9))
        await play(service.bus, Allocate(order_id="order-1", sku="CHAIR", qty=2))
        (created, allocated), _ = await read(api, start, 2)
    assert created["type"] == "batch_created.v1"
    assert set(allocated) == {"specversion", "id", "source", "type", "subject", "time", "datacontenttype"} | {
        "correlationid",
        "causationid",
        "sequence",
        "data",
    }
    assert (allocated["specversion"], allocated["subject"], allocated["sequence"]) == ("1.0", "CHAIR", "2")
    assert allocated["data"]["order_id"] == "order-1"


async def test_the_first_request_waits_until_the_topic_was_read(service: Service, topic: Topic) -> None:
    await topic.publish("CHAIR", [1])
    async with starting(service) as api:
        answer = await api.client.get("/v1/events", params={"cursor": "earliest"})
    assert answer.status_code == 200, answer.text
    assert sequences(answer.json()["events"], "CHAIR") == [1]


async def test_without_a_cursor_the_feed_begins_now(api: Api, topic: Topic) -> None:
    await topic.publish("CHAIR", [1, 2])
    await read(api, "earliest", 2)
    now = await page(api)
    assert now["events"] == []
    await topic.publish("CHAIR", [3])
    events, _ = await read(api, now["next_cursor"], 1)
    assert sequences(events, "CHAIR") == [3]


async def test_each_sku_is_in_order_whatever_the_size_of_a_page(api: Api, topic: Topic) -> None:
    for number in range(1, 21):
        for sku in SKUS:
            await topic.publish(sku, [number])
    for limit in (1, 7, 200):
        events, cursor = await read(api, "earliest", 80, limit=limit)
        for sku in SKUS:
            assert sequences(events, sku) == list(range(1, 21))
        assert (await page(api, cursor=cursor))["events"] == []


async def test_a_filter_moves_the_cursor_past_the_events_that_it_leaves_out(api: Api, topic: Topic) -> None:
    await topic.publish("CHAIR", [1, 2, 3])
    await topic.publish("CHAIR", [4], "low_stock.v1")
    await topic.publish("TABLE", [1])
    await read(api, "earliest", 5)
    events, cursor = await read(api, "earliest", 1, sku="TABLE")
    assert sequences(events, "TABLE") == [1]
    events, cursor = await read(api, "earliest", 1, type="low_stock.v1", sku="CHAIR")
    assert sequences(events, "CHAIR") == [4]
    found = await page(api, cursor=cursor, sku="LAMP")
    assert found["events"] == []
    assert (await page(api, cursor=found["next_cursor"]))["events"] == []


async def test_a_waiting_request_is_answered_by_the_first_event_of_its_filter(api: Api, topic: Topic) -> None:
    waiting = asyncio.create_task(page(api, wait=30, sku="CHAIR"))
    await topic.publish("TABLE", [1])
    # The feed has the other event, which must not end the waiting.
    await read(api, "earliest", 1)
    assert not waiting.done()
    started = time.monotonic()
    await topic.publish("CHAIR", [1])
    answer = await waiting
    assert time.monotonic() - started < 5
    assert sequences(answer["events"], "CHAIR") == [1]


async def test_waiting_ends_with_an_empty_page_whose_cursor_continues(api: Api, topic: Topic) -> None:
    answer = await page(api, wait=1)
    assert answer["events"] == []
    await topic.publish("CHAIR", [1])
    events, _ = await read(api, answer["next_cursor"], 1)
    assert sequences(events, "CHAIR") == [1]


async def test_events_that_left_the_memory_are_read_from_the_broker(
    service: Service, topic: Topic, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka_feed, "KEPT_AT_START", 5)
    monkeypatch.setattr(topic_log, "PAGE_RECORDS", 50)
    for sku in ("CHAIR", "TABLE"):
        # The last one in its own batch: the embedded broker reports the beginning of the last batch as the end.
        await topic.publish(sku, range(1, 200))
        await topic.publish(sku, [200])
    async with following(service) as api:
        assert isinstance(service.feed, kafka_feed.KafkaFeed)
        assert service.feed.ring.behind_last < 20
        events, cursor = await read(api, "earliest", 400, limit=30)
        assert sequences(events, "CHAIR") == list(range(1, 201))
        assert sequences(events, "TABLE") == list(range(1, 201))
        assert len(events) == 400
        assert (await page(api, cursor=cursor))["events"] == []
        events, _ = await read(api, "earliest", 200, sku="TABLE", limit=200)
        assert sequences(events, "TABLE") == list(range(1, 201))


async def test_a_cursor_is_valid_at_another_process_and_after_a_restart(
    service: Service, kafka_settings: Settings, topic: Topic
) -> None:
    async with following(service) as api:
        await topic.publish("CHAIR", range(1, 11))
        events, cursor = await read(api, "earliest", 3, limit=3)
        async with bootstrap(kafka_settings) as other, following(other) as second:
            more, cursor = await read(second, cursor, 4, limit=4)
            events += more
        await topic.publish("CHAIR", [11])
    async with bootstrap(kafka_settings) as restarted, following(restarted) as api:
        more, _ = await read(api, cursor, 4)
    assert sequences(events + more, "CHAIR") == list(range(1, 12))


async def test_new_partitions_appear(api: Api, topic: Topic, broker: EmbeddedBroker | ApacheKafka) -> None:
    if not isinstance(broker, ApacheKafka):
        pytest.skip("the embedded broker cannot add partitions")
    await topic.publish("CHAIR", [1, 2])
    _, cursor = await read(api, "earliest", 2)
    await topic.add_partitions(5)

    async def is_published() -> bool:
        try:
            await topic.publish("LAMP", [1], partition=4)
        except (AssertionError, ValueError):
            return False
        return True

    await eventually(is_published)
    events, _ = await read(api, cursor, 1)
    assert sequences(events, "LAMP") == [1]


async def test_a_cursor_before_the_retention_is_gone_and_the_problem_has_the_first_valid_one(
    service: Service, topic: Topic, broker: EmbeddedBroker | ApacheKafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not isinstance(broker, ApacheKafka):
        pytest.skip("the embedded broker does not delete records")
    monkeypatch.setattr(kafka_feed, "KEPT_AT_START", 5)
    await topic.publish("CHAIR", range(1, 101), partition=0)
    async with following(service) as api:
        first = (await page(api, cursor="earliest", limit=1))["next_cursor"]
        await topic.delete_before({0: 50})
        problem = assert_problem(await api.client.get("/v1/events", params={"cursor": first}), 410, "cursor-expired")
        events, _ = await read(api, problem["first_cursor"], 50)
        assert sequences(events, "CHAIR") == list(range(51, 101))
        events, _ = await read(api, "earliest", 50)
        assert sequences(events, "CHAIR") == list(range(51, 101))


async def test_a_cursor_of_a_topic_that_was_created_again_is_gone(api: Api, topic: Topic) -> None:
    await topic.publish("CHAIR", [1, 2])
    _, cursor = await read(api, "earliest", 2)
    await topic.create_again()

    async def is_gone() -> bool:
        answer = await api.client.get("/v1/events", params={"cursor": cursor})
        return answer.status_code == 410

    await eventually(is_gone)
    # Reaches the old position in the new topic.
    await topic.publish("CHAIR", [1, 2, 3, 4])
    problem = assert_problem(await api.client.get("/v1/events", params={"cursor": cursor}), 410, "cursor-expired")
    events, _ = await read(api, problem["first_cursor"], 4)
    assert sequences(events, "CHAIR") == [1, 2, 3, 4]


@pytest.mark.parametrize("cursor", ["", "x", "earliest2", "AQ" * 30, "A" * 4001])
async def test_other_text_is_not_a_cursor(api: Api, cursor: str) -> None:
    assert_invalid(await api.client.get("/v1/events", params={"cursor": cursor}), ["query", "cursor"])


@pytest.mark.parametrize(
    ("name", "value"),
    [("wait", "31"), ("wait", "-1"), ("wait", "1.5"), ("limit", "0"), ("limit", "201"), ("type", "x.v1"), ("sku", "!")],
)
async def test_other_parameters_are_validated(api: Api, name: str, value: str) -> None:
    assert_invalid(await api.client.get("/v1/events", params={name: value}), ["query", name])


async def test_the_topic_is_created_if_it_is_missing(service: Service) -> None:
    with pytest.raises(FeedUnavailableError):
        await service.feed.open(None, FeedFilter())
    async with following(service) as api:
        assert (await page(api, cursor="earliest"))["events"] == []


async def test_a_broker_that_is_away_makes_only_the_feed_unavailable(
    kafka_settings: Settings, tmp_path: Path, broker: EmbeddedBroker | ApacheKafka
) -> None:
    own: EmbeddedBroker | ApacheKafka
    own = (
        EmbeddedBroker(log_file=tmp_path / "log")
        if isinstance(broker, EmbeddedBroker)
        else ApacheKafka(data_dir=tmp_path)
    )
    with own:
        settings = kafka_settings.model_copy(update={"kafka_bootstrap_servers": own.bootstrap_servers})
        async with bootstrap(settings) as service, AsyncExitStack() as stack:
            async with topic_of(service) as topic:
                await topic.publish("CHAIR", [1, 2])
            api = await stack.enter_async_context(following(service))
            _, cursor = await read(api, "earliest", 2)
            own.stop()

            async def is_away() -> bool:
                answer = await api.client.get("/v1/events", params={"cursor": cursor})
                return answer.status_code == 503 and answer.headers["retry-after"] == "1"

            await eventually(is_away)
            assert_problem(await api.client.get("/v1/batches/none"), 404, "batch-not-found")
            own.start()
            await eventually(lambda: is_back(api))
            answer = await api.client.get("/v1/events", params={"cursor": cursor})
            if isinstance(own, ApacheKafka):
                assert answer.json()["events"] == []
                async with topic_of(service) as topic:
                    await topic.publish("CHAIR", [3])
                events, _ = await read(api, cursor, 1)
                assert sequences(events, "CHAIR") == [3]
            else:
                # The embedded broker has lost its topics.
                assert_problem(answer, 410, "cursor-expired")


async def is_back(api: Api) -> bool:
    """Whether the feed is available."""
    return (await api.client.get("/v1/events")).status_code == 200


async def test_memory_is_bounded_under_load(service: Service, topic: Topic, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Ring.__init__, "__kwdefaults__", {"max_events": 300, "max_bytes": 2**20})
    async with following(service) as api:
        cursor = (await page(api))["next_cursor"]
        await topic.publish("CHAIR", range(1, 1501))
        events, _ = await read(api, cursor, 1500, limit=200)
        assert sequences(events, "CHAIR") == list(range(1, 1501))
        assert isinstance(service.feed, kafka_feed.KafkaFeed)
        ring = service.feed.ring
        assert ring.behind_last - ring.first <= 300
        assert ring.behind_last >= 1500
