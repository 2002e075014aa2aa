"""A consumer that has not compared the ids of its topics yet returns in time, and reports the errors of its group."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiokafka.errors import GroupAuthorizationFailedError

from app.adapters.kafka.group_consumer import GroupConsumer


class Group:
    """A group in a rebalance that does not end."""

    error: Exception | None = None

    def check_errors(self) -> None:
        if self.error is not None:
            raise self.error

    async def close(self) -> None:
        pass


@pytest.fixture
async def consumer() -> AsyncIterator[GroupConsumer]:
    consumer = GroupConsumer(group_id="group")
    consumer.subscribe_to(["inbound"])
    consumer._coordinator = Group()
    yield consumer
    await consumer.stop()


async def test_a_poll_during_a_rebalance_returns_no_records_in_time(consumer: GroupConsumer) -> None:
    async with asyncio.timeout(10):
        assert await consumer.getmany(timeout_ms=10) == {}


async def test_a_poll_during_a_rebalance_reports_the_error_of_the_group(consumer: GroupConsumer) -> None:
    consumer._coordinator.error = GroupAuthorizationFailedError()

    with pytest.raises(GroupAuthorizationFailedError):
        async with asyncio.timeout(10):
            await consumer.getmany(timeout_ms=10)
