"""Carts in PostgreSQL: concurrent units of work, constraints, and the deletion of old carts."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from app.adapters.postgresql.cart_repository import prune_carts
from app.adapters.postgresql.connections import create_engine
from app.bootstrap import bootstrap
from app.domain.commands import AddCartItem, CheckOutCart, Command, CreateBatch, RemoveCartItem, SetCartItem
from app.domain.errors import CartNotFoundError
from app.entrypoints import components
from app.service_layer.cart_results import CartState
from app.service_layer.messagebus import MessageBus
from app.settings import Settings
from tests.support.cells import cells_of, queries_over
from tests.support.database import bus_over, labels, play, raw_connection, waiting_for_a_lock
from tests.support.waiting import eventually

ROUNDS = 10


@pytest.fixture
async def processes(database_url: str) -> AsyncIterator[list[MessageBus]]:
    """Four buses, each over connections of its own."""
    engines = [create_engine(database_url, pool_size=2) for _ in range(4)]
    yield [bus_over(engine) for engine in engines]
    for engine in engines:
        await engine.dispose()


def put(cart: str, sku: str = "CHAIR", qty: int = 1) -> SetCartItem:
    return SetCartItem(cart_id=cart, sku=sku, qty=qty, unit_price=1, default_currency="EUR")


def add(cart: str, sku: str = "CHAIR") -> AddCartItem:
    return AddCartItem(cart_id=cart, sku=sku, qty=1, unit_price=1, default_currency="EUR")


async def at_once(processes: list[MessageBus], *commands: Command) -> list[str]:
    """Run each command in a process of its own; return the outcomes."""
    plays = (play(processes[number % len(processes)], command) for number, command in enumerate(commands))
    return [label for outcomes in await asyncio.gather(*plays) for label in labels(outcomes)]


async def cart_of(engine: AsyncEngine, cart: str) -> CartState:
    return await queries_over(engine).carts.get(cart)


async def test_pieces_that_are_added_at_once_are_all_counted(processes: list[MessageBus], engine: AsyncEngine) -> None:
    for number in range(ROUNDS):
        assert await at_once(processes, *[add(f"cart-{number}")] * 8) == ["ok"] * 8

        cart = await cart_of(engine, f"cart-{number}")
        assert ([item.qty for item in cart.items], cart.version) == ([8], 8)


async def test_items_that_make_a_cart_at_once_are_all_in_it(processes: list[MessageBus], engine: AsyncEngine) -> None:
    for number in range(ROUNDS):
        commands = [put(f"cart-{number}", f"SKU-{each}") for each in range(8)]
        assert await at_once(processes, *commands) == ["ok"] * 8

        assert (await cart_of(engine, f"cart-{number}")).total == 8


async def test_a_change_and_a_checkout_at_once_agree_on_what_was_ordered(
    processes: list[MessageBus], engine: AsyncEngine
) -> None:
    await play(processes[0], CreateBatch(ref="batch-1", sku="CHAIR", qty=1000))
    seen = set()
    for number in range(3 * ROUNDS):
        cart, order = f"cart-{number}", f"order-{number}"
        await play(processes[0], put(cart))
        commands: list[Command] = [CheckOutCart(cart_id=cart, new_order_id=order), add(cart)]
        commands = commands[:: (1, -1)[number % 2]]

        outcomes = dict(zip((type(each) for each in commands), await at_once(processes, *commands), strict=True))

        assert outcomes[CheckOutCart] == "ok"
        seen.add(outcomes[AddCartItem])
        (line,) = (await queries_over(engine).order(order)).lines
        assert line.qty == (2 if outcomes[AddCartItem] == "ok" else 1)
        assert (await cart_of(engine, cart)).total == line.qty
    assert seen <= {"ok", "cart-closed"}


async def test_groups_that_name_the_same_carts_in_any_order_do_not_deadlock(processes: list[MessageBus]) -> None:
    skus = [f"SKU-{number}" for number in range(10)]
    await play(processes[0], *(CreateBatch(ref=f"batch-{sku}", sku=sku, qty=1000) for sku in skus))
    for number in range(ROUNDS):
        items = [put(f"cart-{number}-{each}", sku) for each in range(10) for sku in skus]
        checkouts = [
            CheckOutCart(cart_id=f"cart-{number}-{each}", new_order_id=f"order-{number}-{each}") for each in range(10)
        ]
        await play(processes[0], *items)

        groups = await asyncio.gather(
            *(play(bus, *checkouts[:: (1, -1)[each % 2]]) for each, bus in enumerate(processes))
        )

        assert {label for outcomes in groups for label in labels(outcomes)} == {"ok"}
        assert sum(outcome.result.created for outcomes in groups for outcome in outcomes) == 10


# --- old carts ------------------------------------------------------------------------------------------------------


async def make_old(database_url: str, *carts: str, days: int = 31) -> None:
    async with raw_connection(database_url) as connection:
        await connection.execute(
            "UPDATE carts SET changed_on = changed_on - $2::int WHERE cart_id = ANY($1::text[])", list(carts), days
        )


async def exists(engine: AsyncEngine, cart: str) -> bool:
    try:
        await cart_of(engine, cart)
    except CartNotFoundError:
        return False
    return True


async def prune(engine: AsyncEngine) -> None:
    for cell in cells_of(engine).engines:
        await prune_carts(cell, 30)


async def test_a_cart_that_has_not_changed_for_long_is_deleted_with_its_items(
    processes: list[MessageBus], engine: AsyncEngine, database_url: str
) -> None:
    await play(processes[0], put("old"), put("changed"), put("new"), put("on-the-day"))
    await make_old(database_url, "old", "changed")
    await make_old(database_url, "on-the-day", days=30)
    await play(processes[0], put("changed", qty=2))

    await prune(engine)

    found = {cart: await exists(engine, cart) for cart in ("old", "changed", "new", "on-the-day")}
    assert found == {"old": False, "changed": True, "new": True, "on-the-day": True}
    async with raw_connection(database_url) as connection:
        assert await connection.fetchval("SELECT count(*) FROM cart_items") == 3
    assert labels(await play(processes[0], put("old", "TABLE"))) == ["ok"]
    assert [item.sku for item in (await cart_of(engine, "old")).items] == ["TABLE"]


async def test_more_old_carts_than_one_transaction_deletes_are_deleted(
    engine: AsyncEngine, database_url: str, monkeypatch: pytest.MonkeyPatch, processes: list[MessageBus]
) -> None:
    monkeypatch.setattr("app.adapters.postgresql.cart_repository.PRUNE_PAGE", 3)
    carts = [f"cart-{number}" for number in range(10)]
    await play(processes[0], *map(put, carts))
    await make_old(database_url, *carts)

    await prune(engine)

    assert not any([await exists(engine, cart) for cart in carts])


async def test_housekeeping_deletes_carts_after_the_days_of_the_setting(
    settings: Settings, processes: list[MessageBus], engine: AsyncEngine, database_url: str
) -> None:
    await play(processes[0], put("old"), put("newer"))
    await make_old(database_url, "old", days=8)
    await make_old(database_url, "newer", days=7)

    async def is_deleted() -> bool:
        return not await exists(engine, "old")

    changed = settings.model_copy(update={"cart_retention_days": 7})
    async with bootstrap(changed) as service, components.running([components.housekeeping(service)]):
        await eventually(is_deleted)
    assert await exists(engine, "newer")


async def test_a_cart_that_is_being_changed_is_not_deleted(
    processes: list[MessageBus], engine: AsyncEngine, database_url: str
) -> None:
    await play(processes[0], CreateBatch(ref="batch-1", sku="CHAIR", qty=10), put("cart-1"))
    await make_old(database_url, "cart-1")
    async with raw_connection(database_url, cell_of="CHAIR") as other, other.transaction():
        await other.execute("SELECT FROM products FOR UPDATE")
        # It has read the cart, and waits for the product.
        checkout = asyncio.create_task(play(processes[0], CheckOutCart(cart_id="cart-1", new_order_id="order-1")))
        await waiting_for_a_lock(database_url)
        await prune(engine)

    assert labels(await checkout) == ["ok"]
    cart = await cart_of(engine, "cart-1")
    assert (cart.status, [item.sku for item in cart.items]) == ("closed", ["CHAIR"])


async def test_a_change_that_waits_for_the_deletion_makes_a_new_cart(
    processes: list[MessageBus], engine: AsyncEngine, database_url: str
) -> None:
    await play(processes[0], put("cart-1"))
    async with raw_connection(database_url) as other:
        async with other.transaction():
            await other.execute("DELETE FROM carts")
            changing = asyncio.create_task(play(processes[0], put("cart-1", "TABLE")))
            await waiting_for_a_lock(database_url)
        assert labels(await changing) == ["ok"]

    cart = await cart_of(engine, "cart-1")
    assert (cart.version, [item.sku for item in cart.items]) == (1, ["TABLE"])


# --- constraints ----------------------------------------------------------------------------------------------------

CART = "INSERT INTO carts (cart_id, currency, version, status, order_id)"
ITEM = "INSERT INTO cart_items (cart_id, sku, qty, unit_price)"


@pytest.mark.parametrize(
    ("statement", "constraint"),
    [
        (f"{CART} VALUES ('c', 'eur', 1, 'open', NULL)", "ck_carts_currency"),
        (f"{CART} VALUES ('c', 'EUR', 0, 'open', NULL)", "ck_carts_version"),
        (f"{CART} VALUES ('c', 'EUR', 1, 'lost', 'o')", "ck_carts_status"),
        (f"{CART} VALUES ('c', 'EUR', 1, 'closed', NULL)", "ck_carts_checked_out_as_an_order"),
        (f"{CART} VALUES ('cart-1', 'EUR', 1, 'open', NULL)", "pk_carts"),
        (f"{ITEM} VALUES ('c', 'CHAIR', 1, 1)", "fk_cart_items_carts"),
        (f"{ITEM} VALUES ('cart-1', 'CHAIR', 1, 1)", "pk_cart_items"),
        (f"{ITEM} VALUES ('cart-1', 'LAMP', 0, 1)", "ck_cart_items_qty"),
        (f"{ITEM} VALUES ('cart-1', 'LAMP', 1, -1)", "ck_cart_items_amount"),
        (f"{ITEM} VALUES ('cart-1', 'LAMP', 2147483647, 9007199254740991)", "ck_cart_items_amount"),
    ],
)
async def test_an_invalid_cart_is_refused(
    processes: list[MessageBus], database_url: str, statement: str, constraint: str
) -> None:
    await play(processes[0], put("cart-1"))
    async with raw_connection(database_url, cell_of="cart-1") as connection:
        with pytest.raises(asyncpg.IntegrityConstraintViolationError, match=constraint):
            await connection.execute(statement)


async def test_removing_pieces_at_once_never_removes_too_many(processes: list[MessageBus], engine: AsyncEngine) -> None:
    await play(processes[0], put("cart-1", qty=10))

    outcomes = await at_once(processes, *[RemoveCartItem(cart_id="cart-1", sku="CHAIR", qty=1)] * 8)

    assert outcomes == ["ok"] * 8
    assert [item.qty for item in (await cart_of(engine, "cart-1")).items] == [2]
