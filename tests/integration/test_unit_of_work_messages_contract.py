"""The contract of the unit of work, continued: its events, its outbox, its inbox and its dead letters."""

from dataclasses import replace
from operator import itemgetter

from app.domain.events import AllocationFailed
from app.domain.product import Product
from app.integration.inbound import ReceivedMessage
from app.integration.outbound import OutboundMessage
from app.service_layer.ports import Receipt, UnitOfWork
from tests.support.backends import CAUSE, SKU, Backend, letter, line, load, record
from tests.support.messages import received


async def test_events_of_products_and_others_are_published_once(backend: Backend) -> None:
    await record(backend, "batch-1", 10)

    async with backend.begin() as uow:
        product = await load(uow)
        uow.raise_event(AllocationFailed(sku="OTHER", sequence=None, order_id="order-1", qty=1, reason="invalid_sku"))
        product.allocate(line("order-1", 4), "backorder")
        uow.collect_events()
        uow.collect_events()
        (await load_again(uow)).allocate(line("order-2", 4), "backorder")
        uow.collect_events()
        await uow.commit()

    # Subjects have no order among each other; with several cells they may be in two of them.
    published = [(subject, sequence) for _, subject, sequence, _ in await backend.published()]
    assert [sequence for subject, sequence in published if subject == SKU] == [2, 3]
    assert [sequence for subject, sequence in published if subject != SKU] == [None]


async def load_again(uow: UnitOfWork) -> Product:
    product = uow.products.get(SKU)
    assert product is not None
    return product


async def test_messages_of_a_subject_are_published_in_the_order_in_which_they_were_added(backend: Backend) -> None:
    async with backend.begin() as uow:
        for number in range(5):
            uow.outbox.add(OutboundMessage("out_of_stock.v1", SKU, number + 1, f'{{"n": {number}}}'), CAUSE)
        uow.outbox.add(OutboundMessage("allocation_failed.v1", "NONE", None, "{}"), CAUSE)
        await uow.commit()

    # Subjects have no order among each other.
    assert sorted(await backend.published(), key=itemgetter(1)) == [
        ("allocation_failed.v1", "NONE", None, "{}"),
        *(("out_of_stock.v1", SKU, number + 1, f'{{"n": {number}}}') for number in range(5)),
    ]


async def test_a_message_is_accepted_once(backend: Backend) -> None:
    a, b, c, d = (received(name) for name in "abcd")
    assert await accept(backend, a, b) == {}
    assert set(await accept(backend, b, c)) == {b.identity}
    assert set(await accept(backend, a, d)) == {a.identity}


async def test_a_message_is_identified_by_source_and_id(backend: Backend) -> None:
    one, other, without = received("1", "/one"), received("1", "/other"), received("1", "")
    assert await accept(backend, one) == {}
    assert await accept(backend, other) == {}
    assert await accept(backend, without) == {}
    assert set(await accept(backend, one, other, without)) == {one.identity, other.identity, without.identity}


async def test_sources_that_use_one_id_may_share_a_unit_of_work(backend: Backend) -> None:
    messages = [received("1", f"/source-{number}") for number in range(5)] + [received("2"), received("3")]
    assert await accept(backend, *messages) == {}
    assert set(await accept(backend, *messages)) == {message.identity for message in messages}


async def test_the_receipt_of_a_message_has_its_content_and_time(backend: Backend) -> None:
    for source in ("/one", "/other"):
        await accept(backend, received("1", source, b"first"))
        receipts = await accept(backend, received("1", source, b"second"))
        assert [receipt.content for receipt in receipts.values()] == [b"first"]
        assert all(receipt.received_at and receipt.received_at.tzinfo for receipt in receipts.values())


async def test_a_message_whose_unit_of_work_was_rolled_back_is_new(backend: Backend) -> None:
    for source in ("/one", "/other"):
        async with backend.begin() as uow:
            assert await uow.inbox.accept([received("1", source)]) == {}
        assert await accept(backend, received("1", source)) == {}


async def accept(backend: Backend, *messages: ReceivedMessage) -> dict[tuple[str, str], Receipt]:
    async with backend.begin() as uow:
        known = await uow.inbox.accept(messages)
        await uow.commit()
        return known


async def test_a_dead_letter_is_stored_unchanged_once_per_record_and_message(backend: Backend) -> None:
    for _ in range(2):
        async with backend.begin() as uow:
            for kept in (letter(1), letter(1), letter(2), letter(3, "id", b"x"), letter(4, "id", b"x")):
                await uow.dead_letters.add(kept)
            await uow.dead_letters.add(letter(5, "id", b"other"))
            await uow.dead_letters.add(letter(6, value=None))
            await uow.commit()

    expected = [letter(1), letter(2), letter(3, "id", b"x"), letter(5, "id", b"other"), letter(6, value=None)]
    assert await backend.letters() == expected


async def test_a_reused_offset_of_a_recreated_topic_is_another_record(backend: Backend) -> None:
    first, anew, changed = letter(1), replace(letter(1), timestamp=99), letter(1, value=b"other")
    for _ in range(2):
        async with backend.begin() as uow:
            for kept in (first, anew, changed):
                await uow.dead_letters.add(kept)
            await uow.commit()

    assert await backend.letters() == [first, anew, changed]
