"""The system's Chromium for tests of pages: where it is, and how it starts without asking the internet for anything.

`python -m tests.support.chromium` installs Debian's package where it is missing, as root with apt-get, and says so
where it may not. Playwright's own download of a browser is not used: it comes from no package registry.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from playwright.async_api import Browser, async_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
INSTALL_SECONDS = 600

OPTIONS = (
    # Root, as in CI, has no sandbox; the pages are ours.
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    # No name resolves, so nothing leaves this machine.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)


def find() -> str | None:
    """Return the path of the browser, None where there is none."""
    return next(filter(None, map(shutil.which, NAMES)), None)


@asynccontextmanager
async def running(program: str) -> AsyncIterator[Browser]:
    """Start the browser without a window and with an empty profile, and close it afterwards."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=program, args=list(OPTIONS))
        try:
            yield browser
        finally:
            await browser.close()


def main() -> int:
    """Install the browser where it is missing; return the exit status."""
    if find() is not None:
        return 0
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        print("Chromium is not installed, and only root may install it with apt-get: its tests are skipped")
        return 0
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    install = ["apt-get", "-qq", "install", "--yes", "--no-install-recommends", "chromium"]
    for command in (["apt-get", "-qq", "update"], install):
        done = subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=INSTALL_SECONDS,
            check=False,
        )
        if done.returncode != 0:
            print(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
