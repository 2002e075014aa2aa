"""The contract of the unit of work, continued: its events, its outbox, its inbox and its dead letters."""

from dataclasses import replace

from app.domain.events import ProductEvent
from app.domain.model import Product
from app.integration.outbound import OutboundMessage
from app.service_layer.ports import UnitOfWork
from tests.support.backends import CAUSE, SKU, Backend, letter, line, load, record


async def test_events_are_handed_out_once_those_of_products_and_others(backend: Backend) -> None:
    await record(backend, "batch-1", 10)

    async with backend.begin() as uow:
        product = await load(uow)
        uow.raise_event(ProductEvent(sku="OTHER", sequence=None))
        product.allocate(line("order-1", 4), "backorder")

        assert {event.subject for event in uow.take_events()} == {SKU, "OTHER"}
        assert uow.take_events() == []

        (await load_again(uow)).allocate(line("order-2", 4), "backorder")
        assert [event.sequence for event in uow.take_events()] == [3]


async def load_again(uow: UnitOfWork) -> Product:
    product = uow.products.get(SKU)
    assert product is not None
    return product


async def test_messages_are_published_in_the_order_in_which_they_were_added(backend: Backend) -> None:
    async with backend.begin() as uow:
        for number in range(5):
            uow.outbox.add(OutboundMessage("out_of_stock.v1", SKU, number + 1, f'{{"n": {number}}}'), CAUSE)
        uow.outbox.add(OutboundMessage("allocation_failed.v1", "NONE", None, "{}"), CAUSE)
        await uow.commit()

    assert await backend.published() == [
        *(("out_of_stock.v1", SKU, number + 1, f'{{"n": {number}}}') for number in range(5)),
        ("allocation_failed.v1", "NONE", None, "{}"),
    ]


async def test_a_message_is_accepted_once(backend: Backend) -> None:
    async with backend.begin() as uow:
        assert await uow.inbox.accept(["a", "b"]) == {"a", "b"}
        assert await uow.inbox.accept(["b", "c"]) == {"c"}
        await uow.commit()

    async with backend.begin() as uow:
        assert await uow.inbox.accept(["a", "d"]) == {"d"}


async def test_a_dead_letter_is_kept_as_it_came_once_for_each_record_and_each_message(backend: Backend) -> None:
    for _ in range(2):
        async with backend.begin() as uow:
            for kept in (letter(1), letter(1), letter(2), letter(3, "id", b"x"), letter(4, "id", b"x")):
                uow.dead_letters.add(kept)
            uow.dead_letters.add(letter(5, "id", b"other"))
            uow.dead_letters.add(letter(6, value=None))
            await uow.commit()

    expected = [letter(1), letter(2), letter(3, "id", b"x"), letter(5, "id", b"other"), letter(6, value=None)]
    assert await backend.letters() == expected


async def test_an_offset_that_a_topic_made_anew_gives_again_is_another_record(backend: Backend) -> None:
    first, anew, changed = letter(1), replace(letter(1), timestamp=99), letter(1, value=b"other")
    for _ in range(2):
        async with backend.begin() as uow:
            for kept in (first, anew, changed):
                uow.dead_letters.add(kept)
            await uow.commit()

    assert await backend.letters() == [first, anew, changed]
