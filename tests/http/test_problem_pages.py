"""The `type` of a problem is the URL of a page with its meaning and what to do."""

from pathlib import Path

import pytest

from app.bootstrap import bootstrap
from app.entrypoints.http.problem_pages import problems_markdown
from app.entrypoints.http.problem_texts import EXPLANATIONS
from app.entrypoints.http.problems import DEFAULT_TYPE_BASE, KINDS, ProblemError, configure_types
from app.entrypoints.http.refusals import Refusal
from app.settings import Settings
from tests.support.api import Api, assert_problem, in_process

MANUAL = Path(__file__).parents[2] / "docs" / "problems.md"


def test_every_code_is_explained() -> None:
    assert set(KINDS) <= set(EXPLANATIONS)


def test_the_manual_has_an_entry_for_every_code() -> None:
    """`make openapi` writes it."""
    assert MANUAL.read_text() == problems_markdown()
    for code in KINDS:
        assert f"\n## {code}\n" in MANUAL.read_text()


@pytest.mark.parametrize("code", sorted(KINDS))
async def test_the_type_of_a_problem_is_the_url_of_its_page(api: Api, code: str) -> None:
    answer = await api.client.get(f"/problems/{code}")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    for text in (KINDS[code].title, code, str(KINDS[code].status), "What to do"):
        assert text in answer.text
    assert "default-src 'none'" in answer.headers["content-security-policy"]


async def test_the_type_in_a_response_is_the_path_of_the_page(api: Api) -> None:
    problem = assert_problem(await api.client.get("/v1/batches/nothing"), 404, "batch-not-found")
    assert (await api.client.get(problem["type"])).status_code == 200


@pytest.mark.parametrize("code", ["nothing", "Forbidden", "%00", "<script>"])
async def test_another_code_has_no_page(api: Api, code: str) -> None:
    assert_problem(await api.client.get(f"/problems/{code}"), 404, "not-found")


async def test_a_setting_makes_the_type_absolute(shared_settings: Settings) -> None:
    base = "https://docs.example.com/problems#"
    settings = shared_settings.model_copy(update={"problem_type_base": base})
    try:
        async with bootstrap(settings) as service, in_process(service) as api:
            problem = assert_problem(await api.client.get("/v1/batches/nothing"), 404, "batch-not-found")
            bulk = (await api.client.post("/v1/batches/bulk", json={"items": [{}]})).json()
            overloaded = Refusal(ProblemError("overloaded", "later")).render("/", b"", b"close")
    finally:
        configure_types(DEFAULT_TYPE_BASE)
    assert problem["type"] == f"{base}batch-not-found"
    assert bulk["results"][0]["problem"]["type"] == f"{base}invalid-request"
    assert f"{base}overloaded".encode() in overloaded


@pytest.mark.parametrize("base", ["problems/", "ftp://a/", "https://a.example", "https://", "/problems"])
def test_an_invalid_base_url_is_refused(base: str) -> None:
    with pytest.raises(ValueError, match="problem_type_base"):
        Settings(_env_file=None, problem_type_base=base)
