"""Schemathesis plays data of its own making, right and wrong, against the document and the running application."""

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from pydantic import SecretStr
from schemathesis import Case, GenerationMode
from schemathesis.schemas import BaseSchema

from app.settings import Settings
from tests.http.test_openapi_document import STATUSES
from tests.support.live import live_application

SETTINGS = settings(
    max_examples=40,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="session")
def document(shared_database_url: str) -> Iterator[BaseSchema]:
    """The document as an application on a socket serves it, bound to that application."""
    with live_application(Settings(_env_file=None, database_url=SecretStr(shared_database_url))) as url:
        document = schemathesis.openapi.from_url(f"{url}/openapi.json")
        # A body may be right and its SKU have no batch.
        document.config.checks.positive_data_acceptance.expected_statuses.append("400")
        yield document


def with_whole_quantities(case: Case[Any]) -> Case[Any]:
    """To JSON Schema 3.0 is an integer too; the contract refuses it."""
    if isinstance(case.body, dict):
        case.body.update({name: int(value) for name, value in case.body.items() if isinstance(value, float)})
    return case


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["right", "wrong"])
@pytest.mark.parametrize(("method", "path"), STATUSES)
def test_every_answer_is_one_that_the_document_declares(
    document: BaseSchema, method: str, path: str, mode: GenerationMode
) -> None:
    operation = document[path][method.upper()]
    if mode is GenerationMode.NEGATIVE and not (operation.path_parameters or operation.body):
        pytest.skip("takes nothing that could be wrong")

    cases = operation.as_strategy(generation_mode=mode)
    if mode is GenerationMode.POSITIVE:
        cases = cases.map(with_whole_quantities)

    @given(case=cases)
    @SETTINGS
    def call(case: Case[Any]) -> None:
        case.call_and_validate()

    call()
