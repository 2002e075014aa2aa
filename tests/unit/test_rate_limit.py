"""The rate of each principal, on a clock of the test's own."""

import pytest

from app.entrypoints.http import rate_limit
from app.entrypoints.http.problems import ProblemError
from app.entrypoints.http.rate_limit import RateLimit
from tests.support.clock import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


def taken(limit: RateLimit, principal: str | None = "anna") -> tuple[bool, dict[str, str]]:
    """Take a request. Returns whether it was allowed, and the headers of the answer."""
    headers: list[tuple[bytes, bytes]] = []
    try:
        limit.take(principal, headers)
    except ProblemError as problem:
        return False, {name.decode(): value.decode() for name, value in headers} | problem.headers
    return True, {name.decode(): value.decode() for name, value in headers}


def test_the_quota_can_be_used_at_once_and_comes_back_evenly(clock: Clock) -> None:
    limit = RateLimit(3, 60, clock)
    assert [taken(limit)[0] for _ in range(5)] == [True, True, True, False, False]
    clock.now += 19
    assert not taken(limit)[0]
    clock.now += 1
    assert [taken(limit)[0] for _ in range(2)] == [True, False]
    clock.now += 600
    assert [taken(limit)[0] for _ in range(4)] == [True, True, True, False]


def test_the_answer_says_what_is_left(clock: Clock) -> None:
    limit = RateLimit(3, 60, clock)
    assert taken(limit) == (True, {"ratelimit-policy": '"default";q=3;w=60', "ratelimit": '"default";r=2;t=20'})
    assert taken(limit)[1]["ratelimit"] == '"default";r=1;t=40'
    assert taken(limit)[1]["ratelimit"] == '"default";r=0;t=60'
    clock.now += 5
    allowed, headers = taken(limit)
    assert not allowed
    assert headers["ratelimit"] == '"default";r=0;t=55'
    assert headers["Retry-After"] == "15"
    clock.now += 15
    assert taken(limit)[0]


@pytest.mark.parametrize(("quota", "window"), [(1, 1), (7, 60), (1000, 60), (3, 1), (600, 60)])
def test_no_rounding_takes_a_request_or_gives_one(clock: Clock, quota: int, window: int) -> None:
    clock.now = 123456.789
    limit = RateLimit(quota, window, clock)
    assert sum(taken(limit)[0] for _ in range(2 * quota)) == quota
    clock.now += int(taken(limit)[1]["Retry-After"])
    assert taken(limit)[0]


def test_each_principal_has_a_quota_of_its_own(clock: Clock) -> None:
    limit = RateLimit(1, 60, clock)
    assert [taken(limit, name)[0] for name in ("anna", "ben", None, "anna", None)] == [True, True, True, False, False]


def test_a_principal_without_recent_calls_is_forgotten(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate_limit, "FEW", 10)
    limit = RateLimit(2, 60, clock)
    for number in range(10):
        taken(limit, f"old-{number}")
    clock.now += 30
    taken(limit, "anna")
    assert set(limit._full_again) == {"anna"}
    assert taken(limit)[1]["ratelimit"] == '"default";r=0;t=60'
