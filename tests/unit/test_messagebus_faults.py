"""The message bus where the database does not answer, and where messages come twice."""

import asyncio

import pytest

from app.service_layer.ports import TemporarilyUnavailableError
from app.service_layer.requests import Outcome, Request, RetryPolicy
from tests.support.errands import CAUSE, Desk, Errand
from tests.support.messages import Pauses, received

AWAY = TemporarilyUnavailableError("the database is away")


def message(message_id: str, name: str, *, refused: bool = False, goes_wrong: bool = False) -> Request:
    return Request(Errand(name=name, refused=refused, goes_wrong=goes_wrong), CAUSE, received(message_id))


def labels(outcomes: list[Outcome]) -> list[str]:
    return [outcome.label for outcome in outcomes]


async def test_a_passing_fault_is_waited_out() -> None:
    desk = Desk()
    desk.store.faults = [AWAY, AWAY]

    outcomes = await desk.bus.handle_group([Request(Errand(name=name), CAUSE) for name in ("post", "bank")])

    assert [outcome.result for outcome in outcomes] == ["POST", "BANK"]
    assert len(desk.pauses.seconds) == 2
    assert (desk.store.begun, desk.store.commits) == (3, 1)


async def test_a_fault_that_does_not_pass_is_the_answer_to_all_after_a_bound() -> None:
    desk = Desk(retry=RetryPolicy(attempts=4, sleep=(pauses := Pauses())))
    desk.store.faults = [AWAY] * 10

    outcomes = await desk.bus.handle_group([Request(Errand(name=name), CAUSE) for name in ("post", "bank")])

    assert [outcome.error for outcome in outcomes] == [AWAY, AWAY]
    assert (desk.store.begun, desk.store.commits, len(pauses.seconds)) == (4, 0, 3)


async def test_the_sender_gets_an_error_while_the_database_is_away() -> None:
    desk = Desk()
    desk.store.faults = [AWAY] * 5
    async with desk.bus:
        with pytest.raises(TemporarilyUnavailableError):
            await desk.handle("post")

        assert await desk.handle("post") == "POST"


async def test_pauses_double_up_to_a_bound_and_are_shortened_at_random() -> None:
    pauses = Pauses()
    policy = RetryPolicy(first_delay=1, longest_delay=5, sleep=pauses)

    for attempt in (1, 2, 3, 4, 20):
        await policy.pause(attempt)

    for seconds, longest in zip(pauses.seconds, (1, 2, 4, 5, 5), strict=True):
        assert longest / 2 <= seconds <= longest


async def test_a_group_that_goes_wrong_after_a_passing_fault_still_fails_alone() -> None:
    desk = Desk()
    desk.store.faults = [AWAY]

    outcomes = await desk.bus.handle_group([message("1", "post"), message("2", "bank", goes_wrong=True)])

    assert labels(outcomes) == ["ok", "error"]


async def test_those_behind_a_fault_that_does_not_pass_do_not_wait_for_it_one_by_one() -> None:
    desk = Desk(retry=RetryPolicy(attempts=2, sleep=Pauses()))
    # The group's commit goes wrong, the first command's is taken, and then the database is away.
    desk.store.faults = [RuntimeError("unexpected"), None, AWAY, AWAY]

    outcomes = await desk.bus.handle_group([message(name, name) for name in ("post", "bank", "baker")])

    assert [outcome.error for outcome in outcomes] == [None, AWAY, AWAY]
    assert desk.store.begun == 1 + 1 + 2


async def test_a_message_takes_effect_once_within_a_group() -> None:
    desk = Desk()

    outcomes = await desk.bus.handle_group([message("1", "post"), message("1", "post"), message("2", "bank")])

    assert labels(outcomes) == ["ok", "duplicate", "ok"]
    assert desk.begun == ["post", "bank"]


async def test_a_message_takes_effect_once_over_all_groups() -> None:
    desk = Desk()
    await desk.bus.handle_group([message("1", "post")])

    outcomes = await desk.bus.handle_group([message("1", "post"), message("2", "bank")])

    assert labels(outcomes) == ["duplicate", "ok"]
    assert desk.begun == ["post", "bank"]


async def test_a_refused_message_was_answered_and_is_not_tried_again() -> None:
    desk = Desk()
    first = await desk.bus.handle_group([message("1", "post", refused=True)])
    again = await desk.bus.handle_group([message("1", "post")])

    assert labels([*first, *again]) == ["refused", "duplicate"]


async def test_a_message_that_went_wrong_took_no_effect_and_may_come_again() -> None:
    desk = Desk()
    first = await desk.bus.handle_group([message("1", "post", goes_wrong=True)])
    again = await desk.bus.handle_group([message("1", "post")])

    assert labels([*first, *again]) == ["error", "ok"]


async def test_a_duplicate_beside_a_message_that_goes_wrong_is_still_a_duplicate() -> None:
    desk = Desk()

    outcomes = await desk.bus.handle_group(
        [message("1", "post"), message("2", "bank", goes_wrong=True), message("1", "post")]
    )

    assert labels(outcomes) == ["ok", "error", "duplicate"]


async def test_commands_without_a_message_id_are_never_duplicates() -> None:
    desk = Desk()

    outcomes = await desk.bus.handle_group([Request(Errand(name="post"), CAUSE)] * 2)

    assert labels(outcomes) == ["ok", "ok"]
    assert desk.begun == ["post", "post"]


async def test_no_attempt_begins_once_patience_has_run_out() -> None:
    desk = Desk(retry=RetryPolicy(patience=0, sleep=Pauses()))
    desk.store.faults = [AWAY, None]

    (outcome,) = await desk.bus.handle_group([message("1", "post")])

    assert outcome.error is AWAY
    assert desk.store.begun == 1


async def test_a_caller_that_leaves_between_two_attempts_leaves_its_command_undone() -> None:
    tasks: list[asyncio.Task[str]] = []

    async def leave(_: float) -> None:
        tasks[0].cancel()
        await asyncio.sleep(0)  # poll

    desk = Desk(retry=RetryPolicy(sleep=leave))
    desk.store.faults = [AWAY]
    async with desk.bus:
        tasks += [asyncio.create_task(desk.handle(name)) for name in ("gone", "staying")]
        assert await tasks[1] == "STAYING"

    assert tasks[0].cancelled()
    assert desk.done == {"staying"}


async def test_a_fault_of_some_rows_is_kept_from_commands_with_other_keys() -> None:
    local = TemporarilyUnavailableError("a unique value", is_local=True)
    desk = Desk()
    # Twice the whole group, and then what has the first key, as often as it is tried.
    desk.store.faults = [local] * (2 + 5) + [None]
    group = [Request(Errand(name=name, key=key), CAUSE) for name, key in (("post", "A"), ("bank", "B"), ("baker", "A"))]

    outcomes = await desk.bus.run_apart(group)

    assert [outcome.label for outcome in outcomes] == ["unavailable", "ok", "unavailable"]


async def test_large_work_is_deferred_and_the_others_of_its_group_are_not() -> None:
    desk = Desk()
    desk.too_large = {"post"}

    outcomes = await desk.bus.run_shared([message("1", "post"), message("2", "bank")])

    assert [outcome.deferred for outcome in outcomes] == ["post", ""]
    assert desk.done == {"2", "bank"}
    # It has not been received either, so that it takes effect when it is run apart.
    desk.too_large = set()
    assert labels(await desk.bus.run_apart([message("1", "post")])) == ["ok"]
