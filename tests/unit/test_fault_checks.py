"""What the faults of broker and network look at besides the oracle: each check sees what it is there for."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import cast

import pytest

from faults.flood import Flood, Reply
from faults.journal import Answer, Entry
from faults.rounds import Round
from faults.scenarios.broker import check_writes
from faults.scenarios.network import check_dark
from faults.scenarios.probes import ALIVE, READS, Probed
from faults.scenarios.slowness import check_replies
from faults.trial import MOST_OF_A_SKU, Trial


class Checked:
    """As much of a round as the checks need: the answers over HTTP, and what was complained of."""

    def __init__(self, *answers: Answer) -> None:
        entry = Entry("h0.1", "h0", "http", "allocate", {})
        self.violations: list[str] = []
        self.journal = SimpleNamespace(answers=lambda _: [(entry, answer) for answer in answers])

    def check(self, holds: bool, what: str) -> None:
        if not holds:
            self.violations.append(what)

    check_time = check

    def say(self, what: str) -> None:
        pass

    def complaints_of(self, check: Callable[[Round], None]) -> str:
        check(cast("Round", self))
        return "; ".join(self.violations)


def complaints_of_writes(*answers: Answer) -> str:
    return Checked(*answers).complaints_of(lambda this: check_writes(this, 0.0, 100.0))


@pytest.mark.parametrize("status", [200, 201, 202, 204, 400, 404, 409])
def test_a_write_that_is_done_or_refused_is_well(status: int) -> None:
    assert not complaints_of_writes(Answer(1.0, 1.1, status))


@pytest.mark.parametrize("status", [None, 500, 503, 422])
def test_a_write_with_any_other_answer_or_none_is_seen(status: int | None) -> None:
    assert "1 of 2 writes had no answer" in complaints_of_writes(Answer(1.0, 1.1, 201), Answer(1.0, 1.1, status))


def test_a_write_that_waited_too_long_is_seen() -> None:
    assert "waited 11.0 s" in complaints_of_writes(Answer(1.0, 12.0, 201))


def test_a_time_without_writes_is_seen() -> None:
    assert "no request was sent" in complaints_of_writes(Answer(101.0, 101.1, 201))


def probed(question: tuple[str, str], status: int | None, seconds: float, retry_after: str | None = None) -> Probed:
    return Probed(question, 1, 1.0, 1.0 + seconds, status, retry_after)


WELL = [probed(READS[0], 503, 8.5, "1"), probed(ALIVE, 200, 0.01)]


def complaints_of_dark(*answers: Probed, expected: bool = True) -> str:
    return Checked().complaints_of(lambda this: check_dark(this, list(answers), expected=expected))


def test_a_503_with_retry_after_is_well_in_the_dark() -> None:
    assert not complaints_of_dark(*WELL)
    assert not complaints_of_dark(expected=False)


@pytest.mark.parametrize(
    ("odd", "complaint"),
    [
        (probed(READS[0], 503, 8.5), "1 of 2 were not answered with 503 and Retry-After"),
        (probed(READS[0], 200, 0.1), "1 of 2 were not answered with 503 and Retry-After"),
        (probed(READS[0], 500, 0.1, "1"), "1 of 2 were not answered with 503 and Retry-After"),
        (probed(READS[0], None, 15.0), "1 of 2 were not answered with 503 and Retry-After"),
        (probed(ALIVE, 503, 0.1), "liveness"),
        (probed(ALIVE, 200, 2.0), "liveness"),
    ],
)
def test_any_other_answer_in_the_dark_is_seen(odd: Probed, complaint: str) -> None:
    assert complaint in complaints_of_dark(*WELL, odd)


def test_a_dark_time_without_reads_is_seen() -> None:
    assert "no request was sent" in complaints_of_dark(WELL[1])


def test_a_sku_with_too_many_operations_for_the_outside_judge_is_named() -> None:
    said: list[str] = []
    history = [{"sku": "SKU-HOT"}] * (MOST_OF_A_SKU + 1) + [{"sku": "SKU-00"}]

    judged = Trial._judged(cast("Trial", SimpleNamespace(say=said.append)), history)

    assert judged == [{"sku": "SKU-00"}]
    assert said == [f"the order is not judged of SKU-HOT ({MOST_OF_A_SKU + 1} operations)"]


SERVED, SHED = Reply(1.0, 0.5, 200), Reply(1.0, 0.01, 503, "overloaded", "1")


def complaints_of_flood(*replies: Reply) -> str:
    flood = Flood([], 0)
    flood.replies = list(replies)
    return Checked().complaints_of(lambda this: check_replies(this, flood))


def test_a_flood_of_which_a_part_is_shed_at_once_is_well() -> None:
    assert not complaints_of_flood(SERVED, SHED, Reply(1.0, 8.5, 503, "unavailable", "1"))


@pytest.mark.parametrize(
    ("replies", "complaint"),
    [
        ([SHED], "no request was served"),
        ([SERVED], "nothing was shed"),
        ([SERVED, SHED, Reply(1.0, 0.1, 503, "overloaded")], "1 answers are not of the contract"),
        ([SERVED, SHED, Reply(1.0, 0.1, 500, "internal-error")], "1 answers are not of the contract"),
        ([SERVED, SHED, Reply(1.0, 15.0, None)], "1 answers are not of the contract"),
        ([SERVED, SHED, Reply(1.0, 11.0, 200)], "waited 11.0 s for an answer"),
        ([SERVED, Reply(1.0, 2.0, 503, "overloaded", "1")], "what was shed waited 2.0 s"),
    ],
)
def test_a_flood_that_queues_or_is_answered_wrongly_is_seen(replies: list[Reply], complaint: str) -> None:
    assert complaint in complaints_of_flood(*replies)
