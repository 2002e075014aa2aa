"""The settings and the file that explains them."""

import re
from pathlib import Path

import pytest

from app.settings import Settings

# Those that are set in the example, and those that have no default: what it shows is what they look like.
WITHOUT_DEFAULT = {"database_url", "smtp_url", "warehouse_email", "otlp_endpoint", "auth", "api_keys_file"} | {
    "http_rate_limit",
    "jwt_issuer",
    "jwt_audience",
    "jwt_jwks_url",
}
EXAMPLE = Path(__file__).parents[2] / ".env.example"


def _explained() -> dict[str, str]:
    lines = re.findall(r"^#? ?ALLOCATION_([A-Z_]+)=(.*)$", EXAMPLE.read_text(), re.MULTILINE)
    return {name.lower(): value for name, value in lines}


def test_the_example_names_every_setting_and_no_other() -> None:
    assert set(_explained()) == set(Settings.model_fields)


WITH_DEFAULT = {name for name, field in Settings.model_fields.items() if field.default is not None}


@pytest.mark.parametrize("name", sorted(WITH_DEFAULT - WITHOUT_DEFAULT))
def test_the_example_shows_the_default(name: str) -> None:
    default = Settings.model_fields[name].default
    shown = _explained()[name]
    assert getattr(Settings.model_validate({name: shown}), name) == default


def test_the_example_is_a_valid_env_file() -> None:
    assert Settings(_env_file=EXAMPLE).kafka_bootstrap_servers == "localhost:9092"
