"""Looks up known vulnerabilities of everything that is locked: `make audit`, and so `make lint`.

Exit status 1 means findings, and 2 that the question itself was wrong. A service that cannot be asked (no network, a
mirror that knows nothing of vulnerabilities) makes nothing red, and is told in so many words; pip-audit itself would
call the one failure and the other success. Arguments are handed on: `make audit ARGS="--ignore-vuln PYSEC-2026-1"`.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

# It holds what is shipped and what builds it as well, in the same versions: a test says so.
LOCK = Path(__file__).with_name("dev.txt")
SECONDS = 120
# What pip-audit says, and how its traceback ends, where it could not come by an answer of the service's.
UNANSWERED = re.compile(
    r"vulnerability feed|not redirecting properly|^(?:requests|urllib3)\.exceptions\.|^pip_audit\._service\.",
    re.MULTILINE,
)


class WrongQuestionError(Exception):
    """pip-audit cannot be run, or does not understand what it is asked. The text says why, in one line."""


def ask(arguments: list[str]) -> list[dict[str, Any]] | str:
    """What pip-audit says of each requirement, or why it could say nothing. Raises WrongQuestionError."""
    program = os.environ.get("PIP_AUDIT") or str(Path(sys.executable).with_name("pip-audit"))
    # As they are locked: nothing is resolved, downloaded or installed.
    command = [program, "--disable-pip", "--require-hashes", "--requirement", str(LOCK)]
    command += ["--format", "json", "--progress-spinner", "off", "--timeout", "15", *arguments]
    try:
        done = subprocess.run(command, capture_output=True, check=False, text=True, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        return f"it took longer than {SECONDS} s"
    except OSError as error:
        raise WrongQuestionError(f"{error}; run make install") from None
    try:
        found: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        if not UNANSWERED.search(done.stderr):
            raise WrongQuestionError(last) from None
        return last
    return found


def main(arguments: list[str]) -> int:
    """Ask, and tell; return the exit status."""
    try:
        answer = ask(arguments)
    except WrongQuestionError as error:
        print(f"audit: pip-audit could not be asked: {error}", file=sys.stderr)
        return 2
    if isinstance(answer, str):
        print(f"audit: NOTHING WAS CHECKED, the vulnerability service did not answer: {answer[:200]}")
        return 0
    skipped = [package["skip_reason"] for package in answer if "skip_reason" in package]
    checked = [package for package in answer if "skip_reason" not in package]
    findings = [
        f"{package['name']}=={package['version']}: {each['id']}, mended in {', '.join(each['fix_versions']) or '?'}"
        for package in checked
        for each in package["vulns"]
    ]
    print("\n".join([*findings, f"audit: {len(checked)} packages checked, {len(findings)} known vulnerabilities"]))
    if skipped:
        print(f"audit: {len(skipped)} packages NOT CHECKED, the service does not know them: {skipped[0]}")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
