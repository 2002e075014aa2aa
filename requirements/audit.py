"""Checks all locked packages for known vulnerabilities: `make audit`, and so `make lint`.

Exit status 1 means findings, 2 a usage error. If the vulnerability service is unavailable (no network, a mirror without
vulnerability data) the exit status is 0, and a message says that nothing was checked; pip-audit would fail in the first
case and succeed silently in the second. Arguments are passed on: `make audit ARGS="--ignore-vuln PYSEC-2026-1"`.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

# It includes the runtime and build requirements in the same versions; a test checks that.
LOCK = Path(__file__).with_name("dev.txt")
SECONDS = 120
# The messages of pip-audit, and the end of its traceback, when the service did not answer.
UNANSWERED = re.compile(
    r"vulnerability feed|not redirecting properly|^(?:requests|urllib3)\.exceptions\.|^pip_audit\._service\.",
    re.MULTILINE,
)


class UsageError(Exception):
    """pip-audit cannot be run, or refuses its arguments. The text is the reason, in one line."""


def query(arguments: list[str]) -> list[dict[str, Any]] | str:
    """The findings for each package, or the reason why there are none. Raises UsageError."""
    program = os.environ.get("PIP_AUDIT") or str(Path(sys.executable).with_name("pip-audit"))
    # The locked versions: nothing is resolved, downloaded or installed.
    command = [program, "--disable-pip", "--require-hashes", "--requirement", str(LOCK)]
    command += ["--format", "json", "--progress-spinner", "off", "--timeout", "15", *arguments]
    try:
        done = subprocess.run(command, capture_output=True, check=False, text=True, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        return f"it took longer than {SECONDS} s"
    except OSError as error:
        raise UsageError(f"{error}; run make install") from None
    try:
        found: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        last = (done.stderr.strip().splitlines() or ["no output"])[-1]
        if not UNANSWERED.search(done.stderr):
            raise UsageError(last) from None
        return last
    return found


def main(arguments: list[str]) -> int:
    """Print the findings; return the exit status."""
    try:
        answer = query(arguments)
    except UsageError as error:
        print(f"audit: pip-audit could not run: {error}", file=sys.stderr)
        return 2
    if isinstance(answer, str):
        print(f"audit: NOTHING WAS CHECKED, the vulnerability service did not answer: {answer[:200]}")
        return 0
    skipped = [package["skip_reason"] for package in answer if "skip_reason" in package]
    checked = [package for package in answer if "skip_reason" not in package]
    findings = [
        f"{package['name']}=={package['version']}: {each['id']}, fixed in {', '.join(each['fix_versions']) or '?'}"
        for package in checked
        for each in package["vulns"]
    ]
    print("\n".join([*findings, f"audit: {len(checked)} packages checked, {len(findings)} known vulnerabilities"]))
    if skipped:
        print(f"audit: {len(skipped)} packages NOT CHECKED, the service has no data on them: {skipped[0]}")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
