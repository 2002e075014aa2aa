"""Callers with tokens of an identity provider: which are accepted, also while the provider is unreachable."""

from collections.abc import Iterator

import pytest

from app.adapters.identity.json_web_tokens import JwtAuthenticator
from app.adapters.identity.jwks_client import JwksClient
from app.bootstrap import bootstrap
from app.settings import Settings
from tests.support.api import assert_problem, bearer, in_process
from tests.support.identity_provider import AUDIENCE, ISSUER, IdentityProvider, running_identity_provider


@pytest.fixture
def provider() -> Iterator[IdentityProvider]:
    with running_identity_provider() as running:
        yield running


def jwt_settings(settings: Settings, provider: IdentityProvider) -> Settings:
    return settings.model_copy(
        update={"auth": "jwt", "jwt_issuer": ISSUER, "jwt_audience": AUDIENCE, "jwt_jwks_url": provider.url}
    )


async def test_tokens_give_their_callers_the_scopes_of_the_provider(
    shared_settings: Settings, provider: IdentityProvider
) -> None:
    async with bootstrap(jwt_settings(shared_settings, provider)) as service, in_process(service) as api:

        async def status(path: str, headers: dict[str, str]) -> int:
            return (await api.client.get(path, headers=headers)).status_code

        path = "/v1/batches/batch-1"
        assert await status(path, bearer(provider.token(scope="read"))) == 404
        assert await status(path, bearer(provider.token(scope="orders:write"))) == 403
        assert await status(path, bearer(provider.token(exp=1))) == 401
        assert await status(path, bearer(provider.token()[:-2])) == 401
        # A token is not an API key.
        assert await status(path, {"X-API-Key": provider.token()}) == 401
        again = provider.token()
        assert [await status(path, bearer(again)) for _ in range(3)] == [404] * 3
    assert provider.requests == 1


async def test_without_keys_and_provider_the_service_is_unavailable(
    shared_settings: Settings, provider: IdentityProvider
) -> None:
    provider.status = 500
    async with bootstrap(jwt_settings(shared_settings, provider)) as service, in_process(service) as api:
        answer = await api.client.get("/v1/batches/batch-1", headers=bearer(provider.token()))
        assert_problem(answer, 503, "unavailable", "the identity provider does not answer; try again")
        assert answer.headers["retry-after"] == "1"
        assert (await api.client.get("/readyz")).status_code == 200


async def test_the_provider_can_replace_its_key(shared_settings: Settings, provider: IdentityProvider) -> None:
    keys = JwksClient(provider.url, ["ES256"], min_interval=0)
    tokens = JwtAuthenticator(keys, issuer=ISSUER, audience=AUDIENCE, algorithms=["ES256"])
    settings = jwt_settings(shared_settings, provider)
    async with bootstrap(settings, authenticator=tokens) as service, in_process(service) as api:
        for kid in ("first", "second", "third"):
            if kid != "first":
                provider.add_key(kid)
            answer = await api.client.get("/v1/batches/batch-1", headers=bearer(provider.token(kid)))
            assert answer.status_code == 404
