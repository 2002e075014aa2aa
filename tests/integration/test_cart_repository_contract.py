"""One contract for the repository of carts, kept by PostgreSQL and by the fake that the unit tests use."""

from app.domain.carts import Cart, CartItem
from app.service_layer.lock_sets import LockSet
from app.service_layer.ports import UnitOfWork
from tests.support.backends import Backend

CHAIR, TABLE = CartItem("CHAIR", 2, 4990), CartItem("TABLE", 1, 2**53 - 1 - 9980)


def state(cart: Cart | None) -> tuple[object, ...]:
    assert cart is not None
    return cart.cart_id, cart.currency, cart.items, cart.version, cart.status, cart.order_id


async def load(uow: UnitOfWork, *cart_ids: str) -> list[Cart | None]:
    await uow.carts.load(LockSet(carts=set(cart_ids)))
    return [uow.carts.get(cart_id) for cart_id in cart_ids]


async def make(backend: Backend, cart_id: str, *items: CartItem) -> None:
    async with backend.begin() as uow:
        await load(uow, cart_id)
        cart = Cart(cart_id, "CHF")
        for item in items:
            cart.set_item(item)
        uow.carts.add(cart)
        await uow.commit()


async def test_a_cart_is_read_as_it_was_stored(backend: Backend) -> None:
    await make(backend, "cart-1", TABLE, CHAIR)

    async with backend.begin() as uow:
        stored, absent = await load(uow, "cart-1", "cart-2")

    assert state(stored) == ("cart-1", "CHF", [CHAIR, TABLE], 2, "open", None)
    assert absent is None


async def test_every_kind_of_change_is_stored(backend: Backend) -> None:
    await make(backend, "cart-1", TABLE, CHAIR)
    await make(backend, "cart-2", CHAIR)

    async with backend.begin() as uow:
        first, second = await load(uow, "cart-1", "cart-2")
        assert first is not None
        assert second is not None
        first.set_item(CartItem("CHAIR", 3, 5))
        first.remove_item("TABLE")
        first.add_item(CartItem("LAMP", 1, 0))
        first.check_out("order-1", is_firm=True)
        second.remove_item("CHAIR")
        await uow.commit()

    async with backend.begin() as uow:
        first, second = await load(uow, "cart-1", "cart-2")
    items = [CartItem("CHAIR", 3, 5), CartItem("LAMP", 1, 0)]
    assert state(first) == ("cart-1", "CHF", items, 6, "closed", "order-1")
    assert state(second) == ("cart-2", "CHF", [], 2, "open", None)


async def test_changes_without_a_commit_are_discarded(backend: Backend) -> None:
    await make(backend, "cart-1", CHAIR)

    async with backend.begin() as uow:
        (cart,) = await load(uow, "cart-1")
        assert cart is not None
        cart.set_item(TABLE)

    async with backend.begin() as uow:
        (cart,) = await load(uow, "cart-1")
    assert state(cart) == ("cart-1", "CHF", [CHAIR], 1, "open", None)


async def test_an_item_that_is_removed_and_set_again_is_stored_once(backend: Backend) -> None:
    await make(backend, "cart-1", CHAIR)

    async with backend.begin() as uow:
        (cart,) = await load(uow, "cart-1")
        assert cart is not None
        cart.remove_item("CHAIR")
        cart.set_item(CartItem("CHAIR", 7, 1))
        await uow.commit()

    async with backend.begin() as uow:
        (cart,) = await load(uow, "cart-1")
    assert state(cart) == ("cart-1", "CHF", [CartItem("CHAIR", 7, 1)], 3, "open", None)


async def test_a_checkout_adds_its_order_and_lines_to_the_lock_set(backend: Backend) -> None:
    await make(backend, "cart-1", CHAIR)
    locks = LockSet(
        carts={"cart-1", "cart-2", "cart-3"},
        cart_items={("cart-1", "LAMP"), ("cart-2", "TABLE"), ("cart-3", "SHELF")},
        checkouts={("cart-1", "order-1"), ("cart-2", "order-2")},
    )

    async with backend.begin() as uow:
        await uow.carts.load(locks)

        assert locks.orders == {"order-1", "order-2"}
        assert locks.skus == {"CHAIR", "LAMP", "TABLE"}
        assert locks.lines == {("order-1", "CHAIR"), ("order-1", "LAMP"), ("order-2", "TABLE")}
        assert set(uow.carts.orders_of_checkout("cart-1")) == {"order-1"}
        assert not uow.carts.orders_of_checkout("cart-3")


async def test_a_cart_keeps_the_order_of_its_first_checkout(backend: Backend) -> None:
    await make(backend, "cart-1", CHAIR)
    async with backend.begin() as uow:
        (cart,) = await load(uow, "cart-1")
        assert cart is not None
        cart.check_out("order-1", is_firm=False)
        await uow.commit()
    locks = LockSet(carts={"cart-1"}, checkouts={("cart-1", "order-2")})

    async with backend.begin() as uow:
        await uow.carts.load(locks)

    assert (locks.orders, locks.lines) == ({"order-1"}, {("order-1", "CHAIR")})
