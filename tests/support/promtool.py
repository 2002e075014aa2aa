"""Prometheus's own checker of configuration and alert rules, from where it is installed or from Debian's package.

`python -m tests.support.promtool` fetches it into the cache where apt is; nothing is installed, so any user may.
"""

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.support.cache import cache_folder

PACKAGE = "prometheus"
FETCH_SECONDS = 120.0


class PromtoolError(RuntimeError):
    """It cannot be had here. The message says why."""


def find() -> Path | None:
    """Where it is, unless it is nowhere."""
    fetched = cache_folder() / "promtool"
    installed = shutil.which("promtool")
    return Path(installed) if installed else fetched if fetched.exists() else None


def fetch() -> Path:
    """Where it is, having had apt download the package when it is nowhere. Raises PromtoolError."""
    found = find()
    if found is not None:
        return found
    for program in ("apt-get", "dpkg-deb"):
        if shutil.which(program) is None:
            raise PromtoolError(f"there is no {program}; install Prometheus by hand")
    cache = cache_folder()
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache, prefix="promtool-") as draft:
        _run(["apt-get", "download", PACKAGE], draft)
        for package in Path(draft).glob("*.deb"):
            _run(["dpkg-deb", "--extract", str(package), draft], draft)
        # One that another process has put there meanwhile is as good.
        (Path(draft) / "usr/bin/promtool").replace(cache / "promtool")
    return cache / "promtool"


def fires(rules: Path, alert: str, series: str, values: Sequence[float], *, interval: str = "15s") -> bool:
    """Whether the alert fires at the end of a series that is read every `interval`, from the first value on."""
    program = find()
    assert program is not None
    seconds = (len(values) - 1) * int(interval.removesuffix("s"))
    case = {
        "rule_files": [str(rules)],
        "evaluation_interval": interval,
        "tests": [
            {
                "interval": interval,
                "input_series": [{"series": series, "values": " ".join(f"{value:g}" for value in values)}],
                # promtool compares labels and annotations as well, so it is asked whether there is no alert.
                "alert_rule_test": [{"alertname": alert, "eval_time": f"{seconds}s", "exp_alerts": []}],
            }
        ],
    }
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "case.yml"
        # JSON is YAML.
        file.write_text(json.dumps(case), encoding="utf-8")
        done = subprocess.run([program, "test", "rules", file], capture_output=True, text=True, check=False)
    if done.returncode and "got:[" not in done.stdout + done.stderr:
        raise PromtoolError(done.stdout + done.stderr)
    return done.returncode != 0


def _run(command: list[str], folder: str) -> None:
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=FETCH_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise PromtoolError(f"{command[0]} did not end within {FETCH_SECONDS:g} s") from None
    if done.returncode:
        raise PromtoolError(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")


def main() -> None:
    """Fetch it, or say why not: its test is then skipped."""
    try:
        print(fetch())
    except PromtoolError as error:
        sys.exit(f"promtool cannot be had: {error}")


if __name__ == "__main__":
    main()
