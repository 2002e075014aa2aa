"""Where a unit of work ends only some of the holds that are over, the outcomes are those of ending them all."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.domain.commands import Allocate, Command, CountProduct, CreateBatch, ExpireHolds
from app.domain.stock import line_key
from app.service_layer import overdue_holds
from app.service_layer.requests import Request
from tests.support.holds import NOON
from tests.support.messages import CAUSE, Service, answers
from tests.support.naive import NaiveService
from tests.support.strategies import ORDERS, SKUS, commands_and_orders, later, midnights, moments

Group = tuple[timedelta, list[Command]]

# A batch that is held by many orders, so that many holds end at once. The ref of a count depends on the sequence of the
# product, which differs while holds are left.
held = st.lists(st.tuples(st.sampled_from(ORDERS), st.integers(1, 2)), min_size=3, unique_by=lambda each: each[0])
any_command = commands_and_orders().filter(lambda command: not isinstance(command, CountProduct))
# Only forwards: the clock of a product is that of the last hold that ended, which differs as well.
forwards = moments.filter(lambda step: step > timedelta())
groups = st.tuples(st.one_of(forwards, forwards, forwards, midnights), st.lists(any_command, min_size=1, max_size=5))


def beginning(orders: Sequence[tuple[str, int]]) -> Group:
    lines = [Allocate(order_id=order_id, sku=SKUS[0], qty=qty, hold_for=10) for order_id, qty in orders]
    return timedelta(), [CreateBatch(ref="b1", sku=SKUS[0], qty=6), CreateBatch(ref="b2", sku=SKUS[0], qty=3), *lines]


async def play(service: Service, naive: NaiveService, group: Group, *, shared: bool) -> None:
    after, commands = group
    naive.now = later(naive.now, after)
    service.store.now = naive.now
    naive.begin_group(commands)
    requests = [Request(command, CAUSE) for command in commands]

    outcomes = await (service.bus.handle_group(requests) if shared else service.bus.run_apart(requests))

    assert answers(outcomes) == [naive.play(command) for command in commands]


async def end_all(service: Service, naive: NaiveService) -> None:
    for sku in SKUS:
        while await service.send(ExpireHolds(sku=sku)):
            pass
        naive.begin_group([ExpireHolds(sku=sku)])


def lines_of(service: Service) -> dict[tuple[str, str], object]:
    rows = service.store.tables.lines.items()
    return {key: (row.qty, row.batch_ref, row.shipped is not None, row.held_until) for key, row in rows}


def expected_lines(naive: NaiveService) -> dict[tuple[str, str], object]:
    return {
        (line_key(each.order_id, each.line), each.sku): (
            each.qty,
            each.batch.ref if each.batch else None,
            each.shipped,
            each.held_until,
        )
        for each in naive.lines
    }


@pytest.mark.parametrize("at_a_time", [1, 2])
@given(orders=held, story=st.lists(groups, min_size=2, max_size=8), shared=st.booleans())
@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
def test_the_outcomes_do_not_depend_on_how_many_holds_end_at_a_time(
    at_a_time: int, orders: list[tuple[str, int]], story: list[Group], *, shared: bool
) -> None:
    async def run() -> None:
        service, naive = Service(), NaiveService()
        naive.now = NOON
        for group in [beginning(orders), *story]:
            await play(service, naive, group, shared=shared)
        await end_all(service, naive)
        assert lines_of(service) == expected_lines(naive)
        sequences = [message.sequence for message in service.store.published if message.subject == SKUS[0]]
        assert [each for each in sequences if each is not None] == list(
            range(1, 1 + len(list(filter(None, sequences))))
        )

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(overdue_holds, "AT_A_TIME", at_a_time)
        asyncio.run(run())
