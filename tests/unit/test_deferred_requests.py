"""Requests that are deferred, and those behind them: none is lost, doubled, or overtaken on its product."""

from datetime import UTC, datetime
from typing import Self

import pytest

from app.domain.commands import (
    AddCartItem,
    Allocate,
    CancelAllocation,
    ChangeBatchQuantity,
    CheckOutCart,
    Command,
    CreateBatch,
    OrderedLine,
    PlaceOrder,
)
from app.service_layer.handlers import COMMAND_HANDLERS
from app.service_layer.lock_sets import LockSet
from app.service_layer.messagebus import MessageBus
from app.service_layer.ports import TemporarilyUnavailableError
from app.service_layer.requests import Request, RetryPolicy
from app.service_layer.retry import run_until_available
from tests.support.errands import CAUSE, Desk, Errand
from tests.support.fake_products import FakeProductRepository
from tests.support.fakes import FakeUnitOfWork, InMemoryStore
from tests.support.messages import Pauses, received

TOO_LONG = TemporarilyUnavailableError("stopped at a time limit", timed_out=True)


class LockingRepository(FakeProductRepository):
    """Leaves CHAIR out of shared units of work, as if another transaction held it."""

    _locked: frozenset[str] = frozenset()

    async def load(self, names: LockSet, *, shared: bool = False) -> None:
        await super().load(names, shared=shared)
        if shared and "CHAIR" in self._products:
            del self._products["CHAIR"]
            self._locked = frozenset({"CHAIR"})

    @property
    def locked_elsewhere(self) -> frozenset[str]:
        return self._locked


class LockingUnitOfWork(FakeUnitOfWork):
    async def __aenter__(self) -> Self:
        await super().__aenter__()
        self.products = LockingRepository(self._tables, datetime.now(UTC))
        return self


@pytest.fixture
def store() -> InMemoryStore:
    return InMemoryStore()


async def play_beside_a_lock(store: InMemoryStore, before: list[Command], *commands: Command) -> list[str]:
    """Record `before`, then run the commands while CHAIR is locked, and what is deferred afterwards."""
    free = MessageBus(store.unit_of_work, COMMAND_HANDLERS)
    for outcome in await free.handle_group([Request(command, CAUSE) for command in before]):
        outcome.unwrap()
    bus = MessageBus(lambda _: LockingUnitOfWork(store), COMMAND_HANDLERS, retry=RetryPolicy(sleep=Pauses()))
    group = [Request(command, CAUSE, received(str(number))) for number, command in enumerate(commands)]
    return [outcome.label for outcome in await bus.handle_group(group)]


async def test_a_change_of_a_batch_does_not_overtake_its_recording(store: InMemoryStore) -> None:
    labels = await play_beside_a_lock(
        store,
        [CreateBatch(ref="batch-1", sku="CHAIR", qty=10)],
        CreateBatch(ref="batch-2", sku="CHAIR", qty=10),
        ChangeBatchQuantity(ref="batch-2", qty=3),
    )

    assert labels == ["ok", "ok"]
    assert store.tables.batches["batch-2"].qty == 3


class FailingRepository(FakeProductRepository):
    """Meets a lock that lasts, on the rows of order-0, in each shared unit of work."""

    async def load(self, names: LockSet, *, shared: bool = False) -> None:
        if shared and ("order-0", "CHAIR") in names.lines:
            raise TemporarilyUnavailableError("a lock", is_local=True)
        await super().load(names, shared=shared)


class FailingUnitOfWork(FakeUnitOfWork):
    async def __aenter__(self) -> Self:
        await super().__aenter__()
        self.products = FailingRepository(self._tables, datetime.now(UTC))
        return self


async def test_a_change_of_a_batch_does_not_overtake_its_recording_that_waits_behind_another_request(
    store: InMemoryStore,
) -> None:
    bus = MessageBus(lambda _: FailingUnitOfWork(store), COMMAND_HANDLERS, retry=RetryPolicy(sleep=Pauses()))
    commands = [
        CreateBatch(ref="batch-1", sku="TABLE", qty=10),
        Allocate(order_id="order-0", sku="CHAIR", qty=1),
        Allocate(order_id="order-1", sku="TABLE", qty=1),
        CreateBatch(ref="batch-2", sku="CHAIR", qty=10),
        ChangeBatchQuantity(ref="batch-2", qty=3),
    ]
    outcomes = await bus.handle_group([Request(command, CAUSE) for command in commands])

    assert [outcome.label for outcome in outcomes] == ["ok", "invalid-sku", "ok", "ok", "ok"]
    assert store.tables.batches["batch-2"].qty == 3


async def test_a_cancellation_does_not_overtake_the_order_of_which_another_line_waits(store: InMemoryStore) -> None:
    labels = await play_beside_a_lock(
        store,
        [CreateBatch(ref="batch-1", sku="CHAIR", qty=10), CreateBatch(ref="batch-2", sku="TABLE", qty=10)],
        PlaceOrder(order_id="order-1", lines=[OrderedLine(sku="CHAIR", qty=1), OrderedLine(sku="TABLE", qty=1)]),
        CancelAllocation(order_id="order-1", sku="TABLE"),
        Allocate(order_id="order-2", sku="LAMP", qty=1),
    )

    assert labels == ["ok", "ok", "invalid-sku"]
    assert list(store.tables.lines) == [("order-1", "CHAIR")]


def chair_in(cart_id: str) -> AddCartItem:
    return AddCartItem(cart_id=cart_id, sku="CHAIR", qty=1, unit_price=1, default_currency="EUR")


async def test_a_request_for_a_cart_does_not_overtake_its_checkout_that_waits_for_a_product(
    store: InMemoryStore,
) -> None:
    labels = await play_beside_a_lock(
        store,
        [CreateBatch(ref="batch-1", sku="CHAIR", qty=10), chair_in("cart-1")],
        CheckOutCart(cart_id="cart-1", new_order_id="order-1"),
        chair_in("cart-1"),
        chair_in("cart-2"),
    )

    assert labels == ["ok", "cart-closed", "ok"]
    assert store.tables.carts["cart-1"].order_id == "order-1"


async def test_an_item_is_put_into_a_cart_while_its_product_is_locked(store: InMemoryStore) -> None:
    labels = await play_beside_a_lock(store, [CreateBatch(ref="batch-1", sku="CHAIR", qty=10)], chair_in("cart-1"))

    assert labels == ["ok"]
    # The first unit of work recorded the batch; a deferred command would take a third.
    assert store.commits == 2


async def test_a_message_behind_one_that_meets_a_time_limit_takes_its_effect_later() -> None:
    desk = Desk()
    desk.store.faults = [TOO_LONG, TOO_LONG]
    group = [Request(Errand(name=name, key="A"), CAUSE, received(name)) for name in ("post", "bank")]

    outcomes = await run_until_available(desk.bus.run_apart, group, Pauses())

    assert [outcome.label for outcome in outcomes] == ["ok", "ok"]
    assert desk.begun[-2:] == ["post", "bank"]


async def test_the_time_limits_of_a_message_do_not_count_for_those_behind_it() -> None:
    desk = Desk()
    desk.store.faults = [TOO_LONG] * 6
    group = [Request(Errand(name=name, key="A"), CAUSE, received(name)) for name in ("post", "bank")]

    outcomes = await run_until_available(desk.bus.run_apart, group, Pauses())

    assert [outcome.label for outcome in outcomes] == ["unavailable", "ok"]


async def test_parts_of_a_group_keep_the_order_of_their_requests() -> None:
    desk = Desk()
    desk.store.faults = [TemporarilyUnavailableError("a unique value", is_local=True)] * 2
    keys = ["A", "B", "A"]

    await desk.bus.run_apart([Request(Errand(name=f"{n}", key=key), CAUSE) for n, key in enumerate(keys)])

    assert desk.begun == ["0", "1", "2"] * 3
