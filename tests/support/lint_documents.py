"""Lint docs/openapi.json and docs/asyncapi.json with Redocly CLI: `make lint-documents`.

The version is pinned in tests/clients/linter, where redocly.yaml gives a reason for each rule that is off.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.support.downloads import DownloadError, node_modules

LINTER = Path(__file__).parents[1] / "clients" / "linter"
SECONDS = 120


def main() -> int:
    """Lint both documents; return the exit status. Without node or npm it says so and returns 0."""
    missing = [name for name in ("node", "npm") if shutil.which(name) is None]
    if missing:
        print(f"The documents are not linted: {' and '.join(missing)} not installed")
        return 0
    try:
        redocly = node_modules(LINTER) / ".bin" / "redocly"
    except DownloadError as error:
        print(error, file=sys.stderr)
        return 1
    quiet = os.environ | {"REDOCLY_TELEMETRY": "off", "REDOCLY_SUPPRESS_UPDATE_NOTICE": "true"}
    command: list[str | Path] = [redocly, "lint", "--config", LINTER / "redocly.yaml"]
    return subprocess.run(command, env=quiet, stdin=subprocess.DEVNULL, timeout=SECONDS, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
