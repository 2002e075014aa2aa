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

from tests.support.downloads import DownloadError, debian_package, fetched_debian_package

PACKAGE = "prometheus"
PROGRAM = Path("usr/bin/promtool")


def find() -> Path | None:
    """The program: the installed one, or the one that was fetched. None: there is none."""
    fetched = fetched_debian_package(PACKAGE) / PROGRAM
    installed = shutil.which("promtool")
    return Path(installed) if installed else fetched if fetched.exists() else None


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
        raise RuntimeError(done.stdout + done.stderr)
    return done.returncode != 0


def main() -> None:
    """Fetch it if it is not installed, or say why not: its tests are then skipped."""
    try:
        print(find() or debian_package(PACKAGE) / PROGRAM)
    except DownloadError as error:
        sys.exit(f"promtool cannot be had: {error}")


if __name__ == "__main__":
    main()
