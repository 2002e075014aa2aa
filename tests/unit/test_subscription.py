"""A subscription: hands over, then commits, and starts again after whatever went wrong."""

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence

import pytest
from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.errors import CommitFailedError, KafkaConnectionError
from prometheus_client import REGISTRY

from app.adapters.kafka.group_consumer import TopicCreatedAgainError
from app.entrypoints.kafka import subscription
from app.entrypoints.kafka.subscription import Finish, Subscription
from tests.support.records import TOPIC, FakeConsumer, message
from tests.support.waiting import eventually

TP = TopicPartition(TOPIC, 0)
RECORDS = [message("allocation_required.v1", str(offset), offset=offset) for offset in range(10)]


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscription, "LONGEST_BACKOFF", 0.0)


class Reader:
    """A subscription over fake consumers, and what it has handed over."""

    def __init__(self, max_records: int = 4) -> None:
        self.consumers: list[FakeConsumer] = []
        self.committed: dict[TopicPartition, int] = {}
        self.seen: list[tuple[list[int], dict[TopicPartition, int]]] = []
        self.faults: list[Exception | None] = []
        self.start_faults: list[Exception] = []
        self.topic_faults: list[Exception] = []
        self.subscription = Subscription(self.start, self.handle, name="test", max_records=max_records)

    async def start(self) -> FakeConsumer:
        if self.start_faults:
            raise self.start_faults.pop(0)
        self.consumers.append(FakeConsumer(RECORDS, self.committed))
        self.consumers[-1].topic_faults = self.topic_faults
        return self.consumers[-1]

    async def handle(self, records: Sequence[ConsumerRecord]) -> None:
        self.seen.append(([record.offset for record in records], dict(self.committed)))
        fault = self.faults.pop(0) if self.faults else None
        if fault is not None:
            raise fault

    async def run_until(self, condition: Callable[[], bool]) -> None:
        async def holds() -> bool:
            return condition()

        await self._run_while(eventually(holds))

    async def _run_while(self, work: Awaitable[None]) -> None:
        task = asyncio.create_task(self.subscription.run())
        try:
            await work
        finally:
            task.cancel()
            await asyncio.wait([task])

    @property
    def offsets(self) -> list[list[int]]:
        return [offsets for offsets, _ in self.seen]


async def test_hands_over_small_batches_in_order_and_commits_behind_them() -> None:
    reader = Reader()

    await reader.run_until(lambda: reader.committed == {TP: 10})

    assert reader.seen == [([0, 1, 2, 3], {}), ([4, 5, 6, 7], {TP: 4}), ([8, 9], {TP: 8})]
    assert [consumer.stopped for consumer in reader.consumers] == [True]


async def test_a_batch_that_was_not_dealt_with_is_not_committed_and_comes_again() -> None:
    reader = Reader()
    reader.faults = [None, RuntimeError("a bug"), RuntimeError("again")]

    await reader.run_until(lambda: reader.committed == {TP: 10})

    assert reader.offsets == [[0, 1, 2, 3], *[[4, 5, 6, 7]] * 3, [8, 9]]
    assert len(reader.consumers) == 3
    assert all(consumer.stopped for consumer in reader.consumers)


async def test_starts_again_when_its_topic_was_created_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscription, "TOPIC_INTERVAL", 0.0)
    reader = Reader()
    reader.topic_faults = [TopicCreatedAgainError("the topic")]

    await reader.run_until(lambda: len(reader.consumers) == 2 and reader.committed == {TP: 10})

    assert reader.consumers[0].stopped


async def test_goes_on_where_the_broker_was_away_at_the_start() -> None:
    reader = Reader()
    reader.start_faults = [KafkaConnectionError("no broker"), TimeoutError(), OSError("no route")]

    await reader.run_until(lambda: reader.committed == {TP: 10})

    assert reader.start_faults == []


async def test_leaves_offsets_alone_that_went_to_another_member() -> None:
    reader = Reader(max_records=100)

    async def handle(records: Sequence[ConsumerRecord]) -> None:
        reader.consumers[-1].mine = False

    reader.subscription = Subscription(reader.start, handle, name="test", max_records=100)
    await reader.run_until(lambda: bool(reader.consumers) and reader.consumers[0].drained.is_set())

    assert reader.committed == {}
    assert len(reader.consumers) == 1


async def test_goes_on_where_the_group_has_moved_on_before_the_commit() -> None:
    reader = Reader()

    class Refusing(FakeConsumer):
        async def commit(self, offsets: dict[TopicPartition, int]) -> None:
            raise CommitFailedError("the generation is over")

    async def start() -> FakeConsumer:
        reader.consumers.append(Refusing(RECORDS, reader.committed))
        return reader.consumers[-1]

    reader.subscription = Subscription(start, reader.handle, name="test", max_records=4)
    await reader.run_until(lambda: bool(reader.consumers) and reader.consumers[0].drained.is_set())

    assert reader.offsets == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert len(reader.consumers) == 1


async def test_a_consumer_that_lags_and_fetches_nothing_is_built_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscription, "STALL_TIMEOUT", 0.01)
    reader = Reader()

    async def start() -> FakeConsumer:
        consumer = await Reader.start(reader)
        consumer.mute = len(reader.consumers) == 1
        return consumer

    reader.subscription = Subscription(start, reader.handle, name="test", max_records=100)
    await reader.run_until(lambda: reader.committed == {TP: 10})

    assert len(reader.consumers) == 2


async def test_a_consumer_that_has_read_everything_is_left_in_peace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscription, "STALL_TIMEOUT", 0.001)
    reader = Reader(max_records=100)
    asked = 0

    class Counting(FakeConsumer):
        async def position(self, tp: TopicPartition) -> int:
            nonlocal asked
            asked += 1
            return await super().position(tp)

    async def start() -> FakeConsumer:
        reader.consumers.append(Counting(RECORDS, reader.committed))
        return reader.consumers[-1]

    reader.subscription = Subscription(start, reader.handle, name="test", max_records=100)
    await reader.run_until(lambda: asked >= 3)

    assert len(reader.consumers) == 1


async def test_goes_on_where_the_stop_of_its_consumer_is_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    stop = FakeConsumer.stop

    async def stop_with_a_fetch_under_way(consumer: FakeConsumer) -> None:
        await stop(consumer)
        raise asyncio.CancelledError

    monkeypatch.setattr(FakeConsumer, "stop", stop_with_a_fetch_under_way)
    reader = Reader()
    reader.faults = [RuntimeError("a bug")]

    await reader.run_until(lambda: reader.committed == {TP: 10})

    assert [consumer.stopped for consumer in reader.consumers] == [True, True]


async def test_stopping_in_the_middle_of_a_batch_commits_nothing_of_it() -> None:
    reader = Reader()
    begun = asyncio.Event()

    async def handle(records: Sequence[ConsumerRecord]) -> None:
        begun.set()
        await asyncio.Event().wait()

    reader.subscription = Subscription(reader.start, handle, name="test", max_records=4)
    await reader.run_until(begun.is_set)

    assert reader.committed == {}
    assert [consumer.stopped for consumer in reader.consumers] == [True]


async def test_a_subscription_whose_broker_never_answers_says_that_its_lag_is_not_known() -> None:
    reader = Reader()
    reader.subscription = Subscription(reader.start, reader.handle, name="without-a-broker", max_records=1)
    # More than it will come to.
    reader.start_faults = [KafkaConnectionError() for _ in range(10_000)]

    await reader.run_until(lambda: len(reader.start_faults) < 9_999)

    lag = REGISTRY.get_sample_value("allocation_consumer_lag_messages", {"subscription": "without-a-broker"})
    assert lag is not None
    assert math.isnan(lag)


class Parting(Reader):
    """A reader that leaves over the records of its first batch, until `door` is open."""

    def __init__(self) -> None:
        super().__init__()
        self.door = asyncio.Event()
        self.finished = 0
        self.subscription = Subscription(self.start, self.leave_over, name="test", max_records=4)

    async def leave_over(self, records: Sequence[ConsumerRecord]) -> dict[TopicPartition, Finish]:
        await self.handle(records)
        return {TP: self.finish} if records[0].offset == 0 else {}

    async def finish(self) -> None:
        await self.door.wait()
        self.finished += 1


async def test_a_partition_with_records_left_over_is_paused_until_they_are_handled() -> None:
    reader = Parting()

    async def watch() -> None:
        async def is_paused() -> bool:
            return bool(reader.consumers) and reader.consumers[0].paused == {TP}

        await eventually(is_paused)
        assert (reader.committed, reader.offsets) == ({}, [[0, 1, 2, 3]])
        reader.door.set()

        async def is_done() -> bool:
            return reader.committed == {TP: 10}

        await eventually(is_done)

    await reader._run_while(watch())

    assert reader.finished == 1
    assert reader.offsets == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


async def test_records_left_over_are_given_up_where_the_partition_is_fetched_anew() -> None:
    reader = Parting()

    async def watch() -> None:
        async def is_paused() -> bool:
            return bool(reader.consumers) and reader.consumers[0].paused == {TP}

        await eventually(is_paused)
        # A rebalance forgets pauses, and fetches from the committed offset.
        reader.consumers[0].paused.clear()
        reader.consumers[0]._position = 0

        async def came_again() -> bool:
            return len(reader.seen) == 2

        await eventually(came_again)
        reader.door.set()

        async def is_done() -> bool:
            return reader.committed == {TP: 10}

        await eventually(is_done)

    await reader._run_while(watch())

    assert (reader.finished, reader.offsets) == (1, [[0, 1, 2, 3], [0, 1, 2, 3], [4, 5, 6, 7], [8, 9]])


async def test_what_fails_for_records_left_over_starts_the_subscription_again() -> None:
    reader = Parting()
    failures = [RuntimeError("a bug")]

    async def fail_once() -> None:
        if failures:
            raise failures.pop()

    reader.finish = fail_once  # type: ignore[method-assign]
    await reader.run_until(lambda: reader.committed == {TP: 10})

    assert len(reader.consumers) == 2
