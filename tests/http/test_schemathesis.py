"""Schemathesis sends valid and invalid requests to the application, and checks responses against the document."""

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote, urlencode

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from pydantic import SecretStr
from schemathesis import Case, GenerationMode
from schemathesis.schemas import BaseSchema
from schemathesis.specs.openapi.checks import negative_data_rejection, response_schema_conformance

from app.domain.fields import LONGEST_HOLD
from app.embedded.postgresql import EmbeddedPostgresql
from app.entrypoints.http import event_stream
from app.entrypoints.http.refusals import MAX_TARGET_BYTES
from app.service_layer.callers import SCOPES
from app.settings import Settings
from tests.conftest import new_database
from tests.http.contract import STATUSES
from tests.support.feed import StillFeed
from tests.support.keys import add_key
from tests.support.live import live_application

SETTINGS = settings(
    max_examples=40,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module")
def credentials(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A file of keys, and the headers of a caller with all scopes."""
    file = tmp_path_factory.mktemp("keys") / "keys.toml"
    return file, {"X-API-Key": add_key(file, "schemathesis", SCOPES)}


@pytest.fixture(scope="module")
def database_url(postgresql: EmbeddedPostgresql, template_database: str) -> Iterator[str]:
    """The URL of a database for these tests alone, because generated names may be those of other tests."""
    with new_database(postgresql, f"TEMPLATE {template_database}") as url:
        yield url


@pytest.fixture(scope="module")
def document(database_url: str, credentials: tuple[Path, dict[str, str]]) -> Iterator[BaseSchema]:
    """The document as an application on a socket serves it, bound to that application."""
    settings = Settings(
        _env_file=None,
        database_url=SecretStr(database_url),
        auth="api-keys",
        hold_max=LONGEST_HOLD,
        api_keys_file=credentials[0],
    )
    with pytest.MonkeyPatch.context() as patch, live_application(settings, StillFeed()) as url:
        # A stream would not end.
        patch.setattr(event_stream, "MAX_SECONDS", 0.0)
        document = schemathesis.openapi.from_url(f"{url}/openapi.json")
        # A valid body can have a SKU without a batch.
        document.config.checks.positive_data_acceptance.expected_statuses.append("400")
        # A value that is too long for its parameter may be too long for an address.
        document.config.checks.negative_data_rejection.expected_statuses.append("414")
        # If-Match may have the right form and name another tag.
        document.config.checks.positive_data_acceptance.expected_statuses.append("412")
        yield document


def as_meant(case: Case[Any]) -> Case[Any]:
    """To JSON Schema 3.0 is an integer too, which the contract refuses, and any text might be a cursor."""
    if isinstance(case.body, dict):
        lines = {line["sku"]: line for line in cast("list[dict[str, Any]]", case.body.get("lines", []))}
        if lines:
            # A schema cannot require that each SKU occurs once.
            case.body["lines"] = list(lines.values())
        for body in (case.body, *lines.values(), *cast("list[dict[str, Any]]", case.body.get("items", []))):
            body.update({name: int(value) for name, value in body.items() if isinstance(value, float)})
            if "hold_for" in body:
                # The document says in words that this does not go with a backorder.
                body.pop("if_unavailable", None)
        if case.path.endswith("/on-hand"):
            # Required only if the product has pieces in several locations.
            case.body.setdefault("location", "main")
        if "unit_price" in case.body:
            # A schema cannot bound a total, and some carts are used several times.
            values: dict[str, Any] = case.body
            values |= {"qty": values["qty"] % 1000 + 1, "unit_price": values["unit_price"] % 1_000_000}
    if case.query is not None:
        case.query.pop("cursor", None)
        # There are no further events.
        case.query.pop("wait", None)
    case.headers.pop("Last-Event-ID", None)
    if "Idempotency-Key" in case.headers:
        # Each request is a new one.
        case.headers["Idempotency-Key"] = uuid.uuid4().hex
    return case


def has_an_address_that_fits(case: Case[Any]) -> bool:
    """Whether the server reads the address: a longer one is refused before the route is known."""
    address = quote(case.formatted_path, safe="/%") + urlencode(case.query or {}, doseq=True)
    return len(address) < MAX_TARGET_BYTES


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["right", "wrong"])
@pytest.mark.parametrize(("method", "path"), STATUSES)
def test_every_answer_is_one_that_the_document_declares(
    document: BaseSchema, credentials: tuple[Path, dict[str, str]], method: str, path: str, mode: GenerationMode
) -> None:
    operation = document[path][method.upper()]
    if mode is GenerationMode.NEGATIVE and not (operation.path_parameters or operation.query or operation.body):
        pytest.skip("takes nothing that could be wrong")

    # An invalid item is refused in its own result.
    excluded: list[Any] = [negative_data_rejection] if path.endswith("/bulk") else []
    if path.endswith("/stream"):
        # Schemathesis parses the events. To generated clients a stream is text.
        excluded.append(response_schema_conformance)
    cases = operation.as_strategy(generation_mode=mode).filter(has_an_address_that_fits)
    if mode is GenerationMode.POSITIVE:
        cases = cases.map(as_meant)

    @given(case=cases)
    @SETTINGS
    def call(case: Case[Any]) -> None:
        # A malformed If-None-Match is ignored: the full response is always correct.
        ignored = [negative_data_rejection] if "If-None-Match" in case.headers else []
        case.call_and_validate(headers=credentials[1], excluded_checks=[*excluded, *ignored])

    call()
