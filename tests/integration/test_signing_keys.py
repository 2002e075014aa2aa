"""The keys of a real identity provider over HTTP: when they are fetched, and what holds while it is away."""

import asyncio

import pytest

from app.adapters.identity.json_web_tokens import JwtAuthenticator
from app.adapters.identity.jwks_client import STALE_LIMIT
from app.service_layer.identity import InvalidCredentialsError
from app.service_layer.ports import TemporarilyUnavailableError
from tests.support.clock import Clock
from tests.support.identity_provider import (
    CLAIMS,
    IdentityProvider,
    refusal,
    running_identity_provider,
    tokens_of,
    unsigned,
)
from tests.support.waiting import eventually


@pytest.fixture
def clock() -> Clock:
    return Clock()


async def asked(provider: IdentityProvider, *, times: int = 1) -> None:
    """Wait until the keys have been asked for so often."""

    async def has_been() -> bool:
        return provider.requests >= times

    await eventually(has_been)


async def test_the_keys_are_fetched_once_for_many_callers(provider: IdentityProvider, tokens: JwtAuthenticator) -> None:
    await asyncio.gather(*(tokens.check(provider.token(sub=f"caller-{number}")) for number in range(20)))
    assert provider.requests == 1


async def test_a_new_key_is_fetched_when_a_token_names_it(provider: IdentityProvider, tokens: JwtAuthenticator) -> None:
    await tokens.check(provider.token())
    provider.add_key("second")
    assert (await tokens.check(provider.token("second"))).principal == "anna"
    assert provider.requests == 2


async def test_a_withdrawn_key_signs_nothing_after_a_quiet_night(provider: IdentityProvider, clock: Clock) -> None:
    tokens = tokens_of(provider, clock=clock)
    await tokens.check(provider.token())
    provider.withdraw_key("first")
    provider.add_key("second")
    clock.now += 300
    assert "not published" in await refusal(tokens, provider.token(sub="mallory"))
    assert (await tokens.check(provider.token("second"))).principal == "anna"


async def test_a_token_that_was_checked_is_not_believed_once_its_key_is_known_to_be_withdrawn(
    provider: IdentityProvider, tokens: JwtAuthenticator
) -> None:
    token = provider.token()
    await tokens.check(token)
    provider.withdraw_key("first")
    provider.add_key("second")
    await tokens.check(provider.token("second"))
    assert "not published" in await refusal(tokens, token)


async def test_a_token_that_was_checked_is_not_believed_once_its_key_is_known_to_be_another(
    provider: IdentityProvider, tokens: JwtAuthenticator
) -> None:
    token = provider.token()
    await tokens.check(token)
    provider.withdraw_key("first")
    provider.add_key("first")
    provider.add_key("second")
    await tokens.check(provider.token("second"))
    assert "signature" in await refusal(tokens, token)


async def test_a_key_that_is_added_takes_nothing_from_the_others(
    provider: IdentityProvider, tokens: JwtAuthenticator
) -> None:
    token = provider.token()
    await tokens.check(token)
    provider.add_key("second")
    await tokens.check(provider.token("second"))
    assert tokens.recall(token) is not None


async def test_keys_are_fetched_beside_the_requests_before_they_are_too_old(
    provider: IdentityProvider, clock: Clock
) -> None:
    tokens = tokens_of(provider, clock=clock)
    await tokens.check(provider.token())
    provider.may_answer.clear()
    clock.now += 299
    await tokens.check(provider.token(sub="ben"))
    assert provider.answers == 1
    await asked(provider, times=2)


async def test_a_provider_that_is_away_is_waited_for_once_and_not_by_each_request(
    provider: IdentityProvider, clock: Clock
) -> None:
    tokens = tokens_of(provider, min_interval=5, clock=clock)
    await tokens.check(provider.token())
    provider.status = 500
    clock.now += 300
    await tokens.check(provider.token(sub="ben"))
    assert provider.answers == 2
    await tokens.check(provider.token(sub="carla"))
    assert provider.requests == 2
    provider.may_answer.clear()
    clock.now += 5
    await tokens.check(provider.token(sub="dora"))
    assert provider.answers == 2
    await asked(provider, times=3)


async def test_a_provider_that_was_away_is_waited_for_again_after_a_while(
    provider: IdentityProvider, clock: Clock
) -> None:
    tokens = tokens_of(provider, min_interval=5, clock=clock)
    await tokens.check(provider.token())
    provider.status = 500
    clock.now += 300
    await tokens.check(provider.token(sub="ben"))
    provider.status = 200
    provider.withdraw_key("first")
    provider.add_key("second")
    clock.now += STALE_LIMIT
    assert "not published" in await refusal(tokens, provider.token(sub="mallory"))


async def test_invented_names_of_keys_neither_flood_the_provider_nor_speak_for_a_new_key(
    provider: IdentityProvider, clock: Clock
) -> None:
    tokens = tokens_of(provider, min_interval=5, clock=clock)
    await tokens.check(provider.token())
    provider.add_key("new")
    clock.now += 4
    forged = [unsigned({"alg": "ES256", "kid": f"invented-{number}"}, CLAIMS) for number in range(100)]
    for token in (*forged, provider.token("new")):
        with pytest.raises(TemporarilyUnavailableError, match="at the last check"):
            await tokens.check(token)
    assert provider.requests == 1
    clock.now += 1
    assert "not published" in await refusal(tokens, forged[0])
    assert (await tokens.check(provider.token("new"))).principal == "anna"
    assert provider.requests == 2


async def test_a_fetch_that_began_before_a_token_came_says_nothing_of_a_key_that_it_lacks(
    provider: IdentityProvider, clock: Clock
) -> None:
    tokens = tokens_of(provider, clock=clock)
    forged = unsigned({"alg": "ES256", "kid": "invented"}, CLAIMS)
    provider.may_answer.clear()
    first = asyncio.create_task(tokens.check(forged))
    await asked(provider)
    clock.now += 1
    second = asyncio.create_task(tokens.check(forged))
    # It runs once the loop has come round.
    await asyncio.sleep(0)
    provider.may_answer.set()
    with pytest.raises(InvalidCredentialsError):
        await first
    with pytest.raises(TemporarilyUnavailableError):
        await second


async def test_while_the_provider_is_away_what_is_known_stays_good(
    provider: IdentityProvider, caplog: pytest.LogCaptureFixture
) -> None:
    tokens = tokens_of(provider, max_age=0, recheck=0)
    await tokens.check(provider.token())
    provider.status = 500
    for name in ("ben", "carla"):
        assert (await tokens.check(provider.token(sub=name))).principal == name
    # A name that is not known may be that of a new key.
    with pytest.raises(TemporarilyUnavailableError):
        await tokens.check(unsigned({"alg": "ES256", "kid": "new"}, CLAIMS))
    assert "could not be fetched" in caplog.text


async def test_without_any_key_nobody_is_refused_but_nobody_is_let_in_either() -> None:
    with running_identity_provider() as provider:
        tokens, token = tokens_of(provider, min_interval=0), provider.token()
        provider.status = 503
        with pytest.raises(TemporarilyUnavailableError):
            await tokens.check(token)
        provider.status = 200
        assert (await tokens.check(token)).principal == "anna"


async def test_the_loop_goes_on_while_the_provider_takes_its_time(
    provider: IdentityProvider, tokens: JwtAuthenticator
) -> None:
    provider.may_answer.clear()
    waiting = asyncio.create_task(tokens.check(provider.token()))
    await asked(provider)
    assert not waiting.done()
    provider.may_answer.set()
    assert (await waiting).principal == "anna"


async def test_who_hangs_up_does_not_take_the_keys_from_the_others(
    provider: IdentityProvider, tokens: JwtAuthenticator
) -> None:
    provider.may_answer.clear()
    impatient = asyncio.create_task(tokens.check(provider.token()))
    patient = asyncio.create_task(tokens.check(provider.token(sub="ben")))
    await asked(provider)
    impatient.cancel()
    provider.may_answer.set()
    assert (await patient).principal == "ben"
