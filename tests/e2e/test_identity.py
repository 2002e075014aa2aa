"""The setting ALLOCATION_AUTH at startup, and the API keys that the command line creates."""

import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from app.adapters.identity import api_keys
from app.cli import main
from app.cli.identity import SCOPES as OFFERED_SCOPES
from app.embedded.process import free_port
from app.service_layer.callers import SCOPES
from tests.support.command import Command, assert_one_clear_line, environment, run_command, running, status_of

NOWHERE = "postgresql+asyncpg://allocation@127.0.0.1:9/nowhere"
LISTENING = ["run", "serve"]

Outcome = subprocess.CompletedProcess[str]
Run = Callable[..., Outcome]


@pytest.fixture
def run(
    restored_logging: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Run:
    """Runs the command line in this process, in a folder of its own, with the settings alone."""
    monkeypatch.chdir(tmp_path)

    def command(*arguments: str, **settings: str) -> Outcome:
        with monkeypatch.context() as patch:
            for name, value in {"database_url": NOWHERE, **settings}.items():
                patch.setenv(f"ALLOCATION_{name.upper()}", value)
            status = status_of(arguments)
        shown = capsys.readouterr()
        return subprocess.CompletedProcess(arguments, status, shown.out, shown.err)

    return command


@pytest.mark.parametrize("command", LISTENING)
def test_without_a_choice_nothing_starts(command: str, run: Run) -> None:
    assert_one_clear_line(run(command, "--port", "0"), 2, "ALLOCATION_AUTH", "jwt", "api-keys", "none")


def test_without_a_choice_no_process_starts(tmp_path: Path) -> None:
    done = run_command(["run", "--port", "0"], environment(database_url=NOWHERE), tmp_path)
    assert_one_clear_line(done, 2, "ALLOCATION_AUTH", "jwt", "api-keys", "none")


@pytest.mark.parametrize("command", LISTENING)
@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.com"])
def test_auth_none_is_refused_on_an_address_of_the_network(command: str, host: str, run: Run) -> None:
    done = run(command, "--host", host, "--port", "0", auth="none")
    assert_one_clear_line(done, 2, "ALLOCATION_AUTH", host, "ALLOCATION_AUTH_NONE_ON_ANY_ADDRESS")


def test_dev_listens_for_other_machines_only_where_callers_are_known(run: Run, tmp_path: Path) -> None:
    done = run("dev", "--host", "0.0.0.0", "--port", "0", "--home", str(tmp_path / "home"))
    assert_one_clear_line(done, 2, "ALLOCATION_AUTH")
    assert not (tmp_path / "home" / "dev.json").exists()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"auth": "password"}, ["ALLOCATION_AUTH", "jwt"]),
        ({"auth": "api-keys"}, ["api-keys", "ALLOCATION_API_KEYS_FILE"]),
        ({"auth": "api-keys", "api_keys_file": "missing.toml"}, ["missing.toml"]),
        ({"auth": "api-keys", "api_keys_file": "broken.toml"}, ["broken.toml"]),
        ({"auth": "jwt"}, ["jwt", "ALLOCATION_JWT_ISSUER"]),
        ({"auth": "jwt", "jwt_issuer": "i", "jwt_audience": "a"}, ["ALLOCATION_JWT_JWKS_URL"]),
        ({"auth": "jwt", "jwt_jwks_url": "file:///etc/passwd"}, ["ALLOCATION_JWT_JWKS_URL"]),
        ({"auth": "none", "jwt_algorithms": "HS256"}, ["ALLOCATION_JWT_ALGORITHMS"]),
        ({"auth": "none", "jwt_algorithms": "RS256,none"}, ["ALLOCATION_JWT_ALGORITHMS"]),
    ],
    ids=str,
)
def test_incomplete_settings_are_reported_on_one_line(
    settings: dict[str, str], words: list[str], run: Run, tmp_path: Path
) -> None:
    (tmp_path / "broken.toml").write_text("[[keys")
    assert_one_clear_line(run("serve", "--port", "0", **settings), 2, *words)


def test_a_caller_with_a_key_is_accepted_and_a_new_key_works_at_once(
    database_url: str, run: Run, tmp_path: Path
) -> None:
    first = run("api-keys", "new", "shop", "--scope", "read", "--file", "keys.toml")
    assert first.returncode == 0, first.stderr
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    env = environment(database_url=database_url, auth="api-keys", api_keys_file="keys.toml")
    arguments = ["serve", "--host", "0.0.0.0", "--port", str(port), "--workers", "2"]
    with running(*arguments, env=env, log=tmp_path / "serve.log") as serve:
        serve.wait_until_ready(url)
        shop = first.stderr.strip()
        assert status_with(url, shop) == 404
        assert status_with(url, None) == 401
        second = run("api-keys", "new", "later", "--scope", "read", "--file", "keys.toml").stderr.strip()
        for _ in range(3):
            # A new connection for each request, so that both workers serve some.
            wait_until(serve, url, second, 404)
        assert status_with(url, shop) == 404
        assert serve.stop() == 0
        for key in (shop, second):
            assert key not in serve.output


def status_with(url: str, key: str | None) -> int:
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    return httpx.get(f"{url}/v1/batches/batch-1", headers=headers, trust_env=False).status_code


def wait_until(serve: Command, url: str, key: str, status: int) -> None:
    serve.wait_for(lambda: status_with(url, key) == status)


def test_auth_none_can_be_allowed_on_any_address(database_url: str, tmp_path: Path) -> None:
    port = free_port()
    env = environment(database_url=database_url, auth="none", auth_none_on_any_address="true")
    with running("serve", "--host", "0.0.0.0", "--port", str(port), env=env, log=tmp_path / "serve.log") as serve:
        serve.wait_until_ready(f"http://127.0.0.1:{port}")
        assert status_with(f"http://127.0.0.1:{port}", None) == 404


def test_a_new_key_is_shown_once_beside_its_entry(run: Run, tmp_path: Path) -> None:
    done = run("api-keys", "new", "shop", "--scope", "orders:write", "--scope", "read")
    assert done.returncode == 0
    (entry,) = tomllib.loads(done.stdout)["keys"]
    assert (entry["name"], entry["scopes"]) == ("shop", ["orders:write", "read"])
    assert done.stderr.startswith("alc_")
    assert done.stderr.strip() not in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_key_is_shown_before_its_entry_is_written(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    shown: list[str] = []

    def die(*_: object) -> None:
        shown.append(capsys.readouterr().err)
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(api_keys, "append_entry", die)
    with pytest.raises(SystemExit):
        main(["api-keys", "new", "shop", "--scope", "read", "--file", "keys.toml"])
    assert [each[:4] for each in shown] == ["alc_"]
    assert (tmp_path / "keys.toml").stat().st_mode & 0o777 == 0o600


def test_a_name_is_used_once_in_a_file(run: Run, tmp_path: Path) -> None:
    arguments = ["api-keys", "new", "shop", "--scope", "read", "--file", "keys.toml"]
    assert run(*arguments).returncode == 0
    content = (tmp_path / "keys.toml").read_text()
    assert_one_clear_line(run(*arguments), 2, "shop", "keys.toml")
    again = run(*arguments, "--once")
    assert (again.returncode, again.stdout, again.stderr) == (0, "", "")
    assert (tmp_path / "keys.toml").read_text() == content


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["shop"], "--scope"),
        (["shop", "--scope", "everything"], "everything"),
        (["", "--scope", "read"], "name"),
        (["a\nb", "--scope", "read"], "name"),
        (["shop", "--scope", "read", "--file", "none/keys.toml"], "none/keys.toml"),
    ],
    ids=str,
)
def test_a_mistake_about_a_key_is_reported_on_one_line(arguments: list[str], word: str, run: Run) -> None:
    assert_one_clear_line(run("api-keys", "new", *arguments), 2, word)


def test_the_command_line_offers_the_scopes_that_there_are() -> None:
    assert set(OFFERED_SCOPES) == SCOPES
