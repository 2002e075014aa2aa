"""The keys of a real identity provider over HTTP: when they are fetched, and how long they stay valid."""

import asyncio

import pytest

from app.adapters.identity.json_web_tokens import JwtAuthenticator
from app.adapters.identity.jwks_client import STALE_LIMIT
from app.service_layer.callers import InvalidCredentialsError
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
    """Wait until the keys have been requested this often."""

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


async def test_a_withdrawn_key_is_refused_after_a_time_without_requests(
    provider: IdentityProvider, clock: Clock
) -> None:
    tokens = tokens_of(provider, clock=clock)
    await tokens.check(provider.token())
    provider.withdraw_key("first")
    provider.add_key("second")
    clock.now += 300
    assert "not published" in await refusal(tokens, provider.token(sub="mallory"))
    assert (await tokens.check(provider.token("second"))).principal == "anna"


async def test_a_cached_token_is_refused_once_its_key_is_withdrawn(
    provider: IdentityProvider, tokens: JwtAuthenticator
) -> None:
    token = provider.token()
    await tokens.check(token)
    provider.withdraw_key("first")
    provider.add_key("second")
    await tokens.check(provider.token("second"))
    assert "not published" in await refusal(tokens, token)


async def test_a_cached_token_is_refused_once_its_key_is_replaced(
    provider: IdentityProvider, tokens: JwtAuthenticator
) -> None:
    token = provider.token()
    await tokens.check(token)
    provider.withdraw_key("first")
    provider.add_key("first")
    provider.add_key("second")
    await tokens.check(provider.token("second"))
    assert "signature" in await refusal(tokens, token)


async def test_an_added_key_does_not_affect_the_others(provider: IdentityProvider, tokens: JwtAuthenticator) -> None:
    token = provider.token()
    await tokens.check(token)
    provider.add_key("second")
    await tokens.check(provider.token("second"))
    assert tokens.recall(token) is not None


async def test_keys_are_refreshed_in_the_background_before_they_expire(
    provider: IdentityProvider, clock: Clock
) -> None:
    tokens = tokens_of(provider, clock=clock)
    await tokens.check(provider.token())
    provider.may_answer.clear()
    clock.now += 299
    await tokens.check(provider.token(sub="ben"))
    assert provider.answers == 1
    await asked(provider, times=2)


async def test_one_request_waits_for_an_unreachable_provider_and_the_others_do_not(
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


async def test_an_unreachable_provider_is_tried_again_after_a_while(provider: IdentityProvider, clock: Clock) -> None:
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


async def test_unknown_key_ids_neither_flood_the_provider_nor_block_a_new_key(
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


async def test_a_fetch_that_began_before_a_token_came_does_not_decide_on_its_key(
    provider: IdentityProvider, clock: Clock
) -> None:
    tokens = tokens_of(provider, clock=clock)
    forged = unsigned({"alg": "ES256", "kid": "invented"}, CLAIMS)
    provider.may_answer.clear()
    first = asyncio.create_task(tokens.check(forged))
    await asked(provider)
    clock.now += 1
    second = asyncio.create_task(tokens.check(forged))
    # It runs in the next iteration of the event loop.
    await asyncio.sleep(0)
    provider.may_answer.set()
    with pytest.raises(InvalidCredentialsError):
        await first
    with pytest.raises(TemporarilyUnavailableError):
        await second


async def test_known_keys_stay_valid_while_the_provider_is_unreachable(
    provider: IdentityProvider, caplog: pytest.LogCaptureFixture
) -> None:
    tokens = tokens_of(provider, max_age=0, recheck=0)
    await tokens.check(provider.token())
    provider.status = 500
    for name in ("ben", "carla"):
        assert (await tokens.check(provider.token(sub=name))).principal == name
    # An unknown key id can belong to a new key.
    with pytest.raises(TemporarilyUnavailableError):
        await tokens.check(unsigned({"alg": "ES256", "kid": "new"}, CLAIMS))
    assert "could not be fetched" in caplog.text


async def test_without_any_key_tokens_cannot_be_checked_until_keys_are_fetched() -> None:
    with running_identity_provider() as provider:
        tokens, token = tokens_of(provider, min_interval=0), provider.token()
        provider.status = 503
        with pytest.raises(TemporarilyUnavailableError):
            await tokens.check(token)
        provider.status = 200
        assert (await tokens.check(token)).principal == "anna"


async def test_a_slow_provider_does_not_block_the_event_loop(
    provider: IdentityProvider, tokens: JwtAuthenticator
) -> None:
    provider.may_answer.clear()
    waiting = asyncio.create_task(tokens.check(provider.token()))
    await asked(provider)
    assert not waiting.done()
    provider.may_answer.set()
    assert (await waiting).principal == "anna"


async def test_a_disconnected_caller_does_not_cancel_the_fetch_for_others(
    provider: IdentityProvider, tokens: JwtAuthenticator
) -> None:
    provider.may_answer.clear()
    impatient = asyncio.create_task(tokens.check(provider.token()))
    patient = asyncio.create_task(tokens.check(provider.token(sub="ben")))
    await asked(provider)
    impatient.cancel()
    provider.may_answer.set()
    assert (await patient).principal == "ben"
