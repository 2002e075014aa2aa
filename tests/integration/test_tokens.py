"""Tokens of a real identity provider over HTTP: which are accepted, and which are refused."""

import base64
import json
import logging
import time
from typing import Any

import jwt
import pytest

from app.adapters.identity.json_web_tokens import JwtAuthenticator
from app.service_layer.callers import Caller
from tests.support.clock import Clock
from tests.support.identity_provider import (
    ALGORITHMS,
    CLAIMS,
    IdentityProvider,
    refusal,
    running_identity_provider,
    tokens_of,
    unsigned,
)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_a_token_gives_the_caller_and_its_scopes(
    provider: IdentityProvider, tokens: JwtAuthenticator, algorithm: str
) -> None:
    provider.add_key("mine", algorithm)
    token = provider.token("mine", scope="orders:write read")
    assert await tokens.check(token) == Caller("anna", frozenset({"orders:write", "read"}))


@pytest.mark.parametrize(
    ("claims", "scopes"),
    [
        ({"scope": "read admin"}, {"read", "admin"}),
        ({"scope": ["read", "admin"]}, {"read", "admin"}),
        ({"scope": None, "scp": "read admin"}, {"read", "admin"}),
        ({"scope": None, "scp": ["read", 7]}, {"read"}),
        ({"scope": None}, set()),
        ({"scope": ""}, set()),
        ({"scope": 7}, set()),
        ({"scope": {"read": True}}, set()),
    ],
)
async def test_scopes_are_read_as_providers_write_them(
    provider: IdentityProvider, tokens: JwtAuthenticator, claims: dict[str, Any], scopes: set[str]
) -> None:
    assert (await tokens.check(provider.token(**claims))).scopes == scopes


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"exp": time.time() - 3600}, "expired"),
        ({"nbf": time.time() + 3600}, "not valid yet"),
        ({"iat": time.time() + 3600}, "not valid yet"),
        ({"aud": "another-service"}, "audience"),
        ({"iss": "https://elsewhere.test/"}, "issuer"),
        ({"exp": None}, "exp"),
        ({"iss": None}, "iss"),
        ({"aud": None}, "aud"),
        ({"sub": None}, "sub"),
        ({"sub": ""}, "sub"),
        ({"sub": "a\x00b"}, "sub"),
        ({"sub": "a" * 256}, "sub"),
        ({"exp": "soon"}, "not valid"),
    ],
)
async def test_a_token_with_a_wrong_claim_is_refused(
    provider: IdentityProvider, tokens: JwtAuthenticator, claims: dict[str, Any], reason: str
) -> None:
    assert reason in await refusal(tokens, provider.token(**claims))


async def test_clocks_may_differ_a_little(provider: IdentityProvider) -> None:
    token = provider.token(exp=time.time() - 5)
    assert (await tokens_of(provider, leeway=30).check(token)).principal == "anna"
    assert "expired" in await refusal(tokens_of(provider, leeway=0), token)


async def test_a_token_without_a_signature_is_refused_before_keys_are_fetched(
    provider: IdentityProvider, tokens: JwtAuthenticator
) -> None:
    algorithms: list[object] = ["none", "None", "HS256", ["ES256"], {}, None]
    for algorithm in algorithms:
        assert "signed with" in await refusal(tokens, unsigned({"alg": algorithm, "kid": "first"}, CLAIMS))
    assert provider.requests == 0


@pytest.mark.parametrize("algorithm", ["HS256", "HS512"])
async def test_a_public_key_used_as_a_secret_is_refused(
    provider: IdentityProvider, tokens: JwtAuthenticator, algorithm: str
) -> None:
    published = json.dumps(provider.published["keys"][0])
    # PyJWT refuses to sign this way; an attacker's tool does not.
    secret = base64.b64encode(published.encode() * 4)
    forged = jwt.encode(CLAIMS, secret, algorithm, headers={"kid": "first"})
    assert "signed with" in await refusal(tokens, forged)


async def test_a_published_symmetric_key_is_ignored(provider: IdentityProvider, tokens: JwtAuthenticator) -> None:
    secret = base64.urlsafe_b64encode(b"s" * 64).decode().rstrip("=")
    provider.published["keys"].append({"kty": "oct", "kid": "shared", "k": secret, "alg": "HS256"})
    forged = jwt.encode(CLAIMS, b"s" * 64, "HS256", headers={"kid": "shared"})
    assert "signed with" in await refusal(tokens, forged)
    claims_other = unsigned({"alg": "ES256", "kid": "shared"}, CLAIMS)
    assert "not published" in await refusal(tokens, claims_other)


async def test_a_key_for_another_use_is_refused(provider: IdentityProvider, tokens: JwtAuthenticator) -> None:
    provider.add_key("encryption", use="enc")
    provider.add_key("pss", "PS256")
    for kid, algorithm in (("encryption", "not published"), ("pss", "signed with")):
        assert algorithm in await refusal(tokens, provider.token(kid))


async def test_another_key_with_the_same_id_is_refused(provider: IdentityProvider, tokens: JwtAuthenticator) -> None:
    with running_identity_provider() as other:
        assert "signature" in await refusal(tokens, other.token("first"))


async def test_a_token_that_was_changed_is_refused(provider: IdentityProvider, tokens: JwtAuthenticator) -> None:
    header, _, signature = provider.token().split(".")
    changed = unsigned({}, CLAIMS).split(".")[1]
    assert "signature" in await refusal(tokens, f"{header}.{changed}.{signature}")


@pytest.mark.parametrize(
    "token",
    ["", "x", "a.b.c", "..", "ä.ö.ü", "a" * 20_000, base64.urlsafe_b64encode(b"[" * 9_000).decode() + ".e30.e30"],
    ids=range(7),
)
async def test_malformed_tokens_are_refused(provider: IdentityProvider, tokens: JwtAuthenticator, token: str) -> None:
    assert "not a JSON Web Token" in await refusal(tokens, token)
    assert provider.requests == 0


async def test_a_key_url_in_the_token_is_not_fetched(provider: IdentityProvider, tokens: JwtAuthenticator) -> None:
    with running_identity_provider() as other:
        other.add_key("theirs")
        token = other.token("theirs", headers={"jku": other.url})
        assert "not published" in await refusal(tokens, token)
        assert other.requests == 0


async def test_a_checked_token_is_cached(provider: IdentityProvider, tokens: JwtAuthenticator) -> None:
    token = provider.token()
    caller = await tokens.check(token)
    assert tokens.recall(token) is caller


async def test_a_cached_token_expires(provider: IdentityProvider) -> None:
    clock = Clock()
    tokens = tokens_of(provider, leeway=0, recheck=3600, clock=clock)
    token = provider.token(exp=int(time.time()) + 60)
    await tokens.check(token)
    assert tokens.recall(token) is not None
    clock.now += 61
    assert tokens.recall(token) is None


async def test_a_cached_token_is_checked_again_after_a_minute_despite_clock_changes(
    provider: IdentityProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, now = Clock(), time.time()
    tokens = tokens_of(provider, clock=clock)
    token = provider.token(exp=now + 7200)
    await tokens.check(token)
    monkeypatch.setattr("app.adapters.identity.json_web_tokens.time.time", lambda: now - 3600)
    clock.now += 61
    assert tokens.recall(token) is None


async def test_the_cache_of_tokens_is_bounded(provider: IdentityProvider) -> None:
    tokens = tokens_of(provider, cache_size=2)
    first, second, third = (provider.token(sub=name) for name in ("anna", "ben", "carla"))
    for token in (first, second, third):
        await tokens.check(token)
    assert tokens.recall(first) is None
    assert tokens.recall(second) is not None
    assert tokens.recall(third) is not None


async def test_no_token_is_logged(
    provider: IdentityProvider, tokens: JwtAuthenticator, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    good, bad = provider.token(), provider.token(aud="another-service")
    await tokens.check(good)
    reason = await refusal(tokens, bad)
    for token in (good, bad):
        for part in token.split("."):
            assert part not in caplog.text
            assert part not in reason
