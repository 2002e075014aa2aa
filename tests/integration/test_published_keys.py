"""Responses of an identity provider over HTTP: which keys are used, and which responses are rejected."""

import threading
from pathlib import Path
from typing import Literal

import pytest

from app.adapters.identity.json_web_tokens import JwtAuthenticator
from app.adapters.identity.jwks_client import MAX_BYTES
from app.service_layer.ports import TemporarilyUnavailableError
from tests.support.identity_provider import (
    CLAIMS,
    IdentityProvider,
    refusal,
    running_identity_provider,
    tokens_of,
    unsigned,
)
from tests.support.tls import Authority
from tests.support.waiting import eventually


@pytest.mark.parametrize(
    "published",
    [{}, [], {"keys": []}, {"keys": "none"}, {"keys": [{"kty": "?"}]}, "text", b"\xff", b'{"keys":' + b"[" * 100_000],
    ids=range(8),
)
async def test_a_provider_that_publishes_nonsense_counts_as_unavailable(
    provider: IdentityProvider, tokens: JwtAuthenticator, published: object, caplog: pytest.LogCaptureFixture
) -> None:
    token = provider.token()
    provider.published = published
    with pytest.raises(TemporarilyUnavailableError):
        await tokens.check(token)
    assert "could not be fetched" in caplog.text


@pytest.mark.parametrize("part", ["head", "body"])
async def test_an_endless_response_times_out_and_does_not_block_the_next_fetch(
    provider: IdentityProvider, part: Literal["head", "body"], caplog: pytest.LogCaptureFixture
) -> None:
    tokens = tokens_of(provider, deadline=0.2)
    provider.drips = part
    with pytest.raises(TemporarilyUnavailableError):
        await tokens.check(provider.token())
    assert "within 0.2 s" in caplog.text

    async def no_download_runs() -> bool:
        return "download" not in {thread.name for thread in threading.enumerate()}

    # So the process can end without waiting for a download.
    await eventually(no_download_runs)
    provider.drips = None

    async def token_is_accepted() -> bool:
        try:
            return (await tokens.check(provider.token())).principal == "anna"
        except TemporarilyUnavailableError:
            return False

    await eventually(token_is_accepted)


async def test_a_response_that_is_too_long_is_refused(
    provider: IdentityProvider, tokens: JwtAuthenticator, caplog: pytest.LogCaptureFixture
) -> None:
    provider.published["more"] = "x" * MAX_BYTES
    with pytest.raises(TemporarilyUnavailableError):
        await tokens.check(provider.token())
    assert "longer than" in caplog.text


async def test_a_provider_with_tls_has_to_prove_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = Authority(tmp_path)
    with running_identity_provider(authority.identity("localhost").server_context()) as provider:
        tokens = tokens_of(provider)
        with pytest.raises(TemporarilyUnavailableError):
            await tokens.check(provider.token())
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.ca_file))
        assert (await tokens.check(provider.token())).principal == "anna"


@pytest.mark.parametrize("algorithm", ["RS256", "RS512", "PS256", "ES256", "ES384", "EdDSA"])
async def test_a_key_without_alg_and_use_serves_every_algorithm_of_its_type(
    provider: IdentityProvider, algorithm: str
) -> None:
    provider.add_key("mine", algorithm, alg=None, use=None)
    tokens = tokens_of(provider, algorithms=["RS256", "RS512", "PS256", "ES256", "ES384", "EdDSA"])
    assert (await tokens.check(provider.token("mine"))).principal == "anna"


@pytest.mark.parametrize(
    ("algorithm", "said", "claimed"),
    [("RS256", None, "ES256"), ("ES256", None, "RS256"), ("ES256", None, "ES384"), ("RS256", "RS256", "PS256")],
)
async def test_a_key_serves_no_other_algorithm(
    provider: IdentityProvider, algorithm: str, said: str | None, claimed: str
) -> None:
    provider.add_key("mine", algorithm, alg=said)
    tokens = tokens_of(provider, algorithms=["RS256", "PS256", "ES256", "ES384"])
    assert "not published" in await refusal(tokens, unsigned({"alg": claimed, "kid": "mine"}, CLAIMS))


ODD: dict[str, list[object]] = {
    "kid": [5, None, [], {}, True],
    "alg": [5, [], {}],
    "use": [5, [], {}],
    "kty": [5, [], {}, "RSA", "oct"],
    "crv": [5, [], {}, "P-7"],
    "x": [5, [], {}, "", "ä"],
}


@pytest.mark.parametrize("more", [{name: value} for name, values in ODD.items() for value in values], ids=str)
async def test_an_invalid_key_does_not_affect_the_others(
    provider: IdentityProvider, tokens: JwtAuthenticator, more: dict[str, object]
) -> None:
    provider.add_key("odd")
    provider.published["keys"][-1].update(more)
    provider.published["keys"].append("text")
    assert (await tokens.check(provider.token())).principal == "anna"
