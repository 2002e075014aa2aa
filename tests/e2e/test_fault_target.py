"""`make faults TARGET=url` judges an installation that runs already, and injects nothing."""

import subprocess
import sys
from pathlib import Path

import pytest

from app.embedded.process import free_port
from app.settings import Settings
from tests.support.command import environment, running

pytestmark = pytest.mark.kafka

SECONDS = 180


def judged(url: str, env: dict[str, str], home: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "faults", "--short", "--target", url, "--minutes", "0.1"]
    return subprocess.run(
        command, env=env | {"TMPDIR": str(home)}, capture_output=True, text=True, timeout=SECONDS, check=False
    )


def test_an_installation_that_is_in_order_is_judged_so(
    request: pytest.FixtureRequest, kafka_settings: Settings, tmp_path: Path
) -> None:
    if request.config.getoption("--broker") != "apache":
        pytest.skip("its load needs the machine for itself, and other tests run beside this one")
    settings = kafka_settings.model_copy(update={"kafka_session_timeout": 3.0})
    env, port = environment(settings), free_port()
    url = f"http://127.0.0.1:{port}"
    with running("run", "--port", str(port), env=env, log=tmp_path / "run.log") as service:
        service.wait_until_ready(url)

        first = judged(url, env, tmp_path)
        assert first.returncode == 0, first.stderr
        assert "nothing lost, nothing doubled" in first.stdout
        assert "inject faults now" in first.stderr

        # The oracle compares all records, so it needs topics and a database without any.
        second = judged(url, env, tmp_path)
        assert second.returncode != 0
        assert "has records: the oracle reads all, so use a new topic" in second.stderr
