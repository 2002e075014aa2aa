"""The message bus: who handles what, in which order, and what a group shares."""

import asyncio

import pytest

from app.domain.commands import CreateBatch
from app.service_layer.batch_handlers import create_batch
from app.service_layer.handlers import COMMAND_HANDLERS
from app.service_layer.messagebus import MessageBus, NoHandlerError, OverloadedError
from app.service_layer.ports import Cause, TemporarilyUnavailableError
from app.service_layer.requests import Request
from tests.support.errands import CAUSE, NEVER_REGISTERED, Desk, Errand, RefusedError, enqueue
from tests.support.fakes import InMemoryStore


def requests(*errands: Errand) -> list[Request]:
    return [Request(errand, CAUSE) for errand in errands]


async def test_a_second_handler_for_a_command_is_refused() -> None:
    with pytest.raises(ValueError, match="CreateBatch has a handler already"):
        MessageBus(InMemoryStore().unit_of_work, [*COMMAND_HANDLERS, (CreateBatch, create_batch)])


async def test_a_second_registration_is_refused_and_the_first_stays() -> None:
    desk = Desk()

    with pytest.raises(ValueError, match="Errand has a handler already"):
        desk.bus.register(Errand, create_batch)

    (outcome,) = await desk.bus.handle_group(requests(Errand(name="post")))
    assert outcome.result == "POST"


async def test_a_command_without_a_handler_fails() -> None:
    (outcome,) = await Desk().bus.handle_group([Request(NEVER_REGISTERED, CAUSE)])

    assert isinstance(outcome.error, NoHandlerError)


async def test_an_event_is_published_with_the_cause_of_its_own_command() -> None:
    from_post, from_bank = Cause("1", "a"), Cause("2", "b")
    desk = Desk()
    await desk.bus.handle_group([Request(Errand(name="post"), from_post), Request(Errand(name="bank"), from_bank)])

    assert [(message.subject, cause) for message, cause in desk.store.tables.outbox] == [
        ("post", from_post),
        ("bank", from_bank),
    ]


async def test_a_command_that_is_alone_runs_at_once() -> None:
    desk = Desk()
    async with desk.bus:
        assert await desk.handle("post") == "POST"

    assert desk.pauses.seconds == []
    assert (desk.store.begun, desk.store.commits) == (1, 1)


async def test_commands_that_wait_share_one_unit_of_work() -> None:
    desk = Desk()
    async with desk.bus:
        first = await desk.close_door()
        others = [asyncio.create_task(desk.handle(f"errand-{number}")) for number in range(50)]
        await enqueue()
        desk.door.set()
        answers = await asyncio.gather(first, *others)

    assert answers == ["FIRST", *(f"ERRAND-{number}" for number in range(50))]
    assert desk.store.begun == 2
    assert desk.begun == ["first", *(f"errand-{number}" for number in range(50))]


async def test_a_group_has_a_limit() -> None:
    desk = Desk(group_limit=20)
    async with desk.bus:
        first = await desk.close_door()
        others = [asyncio.create_task(desk.handle(f"errand-{number}")) for number in range(50)]
        await enqueue()
        desk.door.set()
        await asyncio.gather(first, *others)

    assert desk.store.begun == 1 + 3


async def test_a_command_counts_with_its_size_in_the_limit_of_a_group() -> None:
    desk = Desk(group_limit=20)
    async with desk.bus:
        first = await desk.close_door()
        sizes = [8, 8, 8, 1000, 1, 1, 19]
        others = [asyncio.create_task(desk.handle(f"errand-{n}", pieces=size)) for n, size in enumerate(sizes)]
        await enqueue()
        desk.door.set()
        await asyncio.gather(first, *others)

    # The first three, the large one on its own, and the rest.
    assert desk.store.begun == 1 + 3


async def test_a_command_counts_with_its_places_in_the_limit_of_the_queue() -> None:
    desk = Desk(queue_limit=10)
    async with desk.bus:
        first = await desk.close_door()
        large = asyncio.create_task(desk.handle("large", room=1000))
        await enqueue()
        with pytest.raises(OverloadedError):
            await desk.handle("small")
        desk.door.set()

        assert (await first, await large) == ("FIRST", "LARGE")
        assert await desk.handle("small") == "SMALL"


async def test_the_answer_comes_after_the_commit() -> None:
    desk = Desk()
    async with desk.bus:
        await desk.handle("post")

        assert desk.done == {"post"}


async def test_a_refusal_is_the_answer_to_its_own_command_alone() -> None:
    desk = Desk()
    before, refused, after = await desk.bus.handle_group(
        requests(Errand(name="post"), Errand(name="bank", refused=True), Errand(name="baker"))
    )

    assert (before.result, after.result) == ("POST", "BAKER")
    assert isinstance(refused.error, RefusedError)
    assert [outcome.label for outcome in (before, refused, after)] == ["ok", "refused", "ok"]
    assert desk.store.begun == 1


async def test_a_refusal_reaches_the_sender() -> None:
    desk = Desk()
    async with desk.bus:
        with pytest.raises(RefusedError):
            await desk.handle("bank", refused=True)


async def test_a_command_that_goes_wrong_fails_alone() -> None:
    desk = Desk()
    before, wrong, after = await desk.bus.handle_group(
        requests(Errand(name="post"), Errand(name="bank", goes_wrong=True), Errand(name="baker"))
    )

    assert (before.result, after.result) == ("POST", "BAKER")
    assert isinstance(wrong.error, RuntimeError)
    assert desk.done == {"post", "baker"}
    assert desk.begun == ["post", "bank", "post", "bank", "baker"]


async def test_what_went_wrong_reaches_its_sender_and_the_bus_goes_on() -> None:
    desk = Desk()
    async with desk.bus:
        with pytest.raises(RuntimeError, match="bank went wrong"):
            await desk.handle("bank", goes_wrong=True)

        assert await desk.handle("post") == "POST"


async def test_a_full_queue_refuses_at_once() -> None:
    desk = Desk(queue_limit=2)
    async with desk.bus:
        first = await desk.close_door()
        waiting = [asyncio.create_task(desk.handle(name)) for name in ("post", "bank")]
        await enqueue()

        with pytest.raises(OverloadedError):
            await desk.handle("baker")

        desk.door.set()
        assert await asyncio.gather(first, *waiting) == ["FIRST", "POST", "BANK"]
        assert await desk.handle("baker") == "BAKER"


async def test_a_caller_that_has_gone_leaves_its_command_undone() -> None:
    desk = Desk()
    async with desk.bus:
        first = await desk.close_door()
        gone, staying = (asyncio.create_task(desk.handle(name)) for name in ("gone", "staying"))
        await enqueue()
        gone.cancel()
        desk.door.set()

        assert [await first, await staying] == ["FIRST", "STAYING"]

    assert gone.cancelled()
    assert desk.done == {"first", "staying"}


async def test_a_command_that_has_begun_is_done_although_its_caller_has_gone() -> None:
    desk = Desk()
    async with desk.bus:
        first = await desk.close_door()
        first.cancel()
        await enqueue()
        desk.door.set()
        assert await desk.handle("post") == "POST"

    assert first.cancelled()
    assert desk.done == {"first", "post"}


async def test_stopping_finishes_what_waits() -> None:
    desk = Desk()
    async with desk.bus:
        first = await desk.close_door()
        waiting = [asyncio.create_task(desk.handle(name)) for name in ("post", "bank")]
        await enqueue()
        desk.door.set()

    assert await asyncio.gather(first, *waiting) == ["FIRST", "POST", "BANK"]
    assert desk.done == {"first", "post", "bank"}


async def test_a_bus_that_has_stopped_takes_nothing() -> None:
    desk = Desk()
    async with desk.bus:
        pass

    with pytest.raises(TemporarilyUnavailableError):
        await desk.handle("post")


async def test_a_bus_that_cannot_finish_stops_and_fails_the_waiting_commands() -> None:
    desk = Desk(drain_timeout=0.01)
    async with asyncio.timeout(60):
        async with desk.bus:
            begun = await desk.close_door()
            behind = asyncio.create_task(desk.handle("behind"))
            await enqueue()

        for stuck in (begun, behind):
            with pytest.raises(TemporarilyUnavailableError):
                await stuck
    assert desk.done == set()


async def test_commands_with_one_key_keep_their_order_and_other_keys_do_not_wait_for_them() -> None:
    desk = Desk(workers=2, unit_of_work=lambda _: InMemoryStore().unit_of_work())
    async with desk.bus:
        first = await desk.close_door()  # It has the key "", and closes the door behind it.
        behind = [asyncio.create_task(desk.handle(f"behind-{number}")) for number in range(3)]
        elsewhere = asyncio.create_task(desk.handle("elsewhere", key="CHAIR"))
        await enqueue()

        assert desk.begun == ["first", "elsewhere"]

        desk.door.set()
        await asyncio.gather(first, elsewhere, *behind)

    assert desk.begun == ["first", "elsewhere", "behind-0", "behind-1", "behind-2"]
