"""Other Python versions on this machine that the project supports."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

SUPPORTED = ("3.14", "3.13", "3.12", "3.11")


def another_python() -> Path | None:
    """The newest interpreter of a supported version that does not run these tests; None where there is none."""
    this = f"{sys.version_info.major}.{sys.version_info.minor}"
    for version in SUPPORTED:
        for candidate in _candidates(version) if version != this else ():
            if _version_of(candidate) == version:
                return candidate
    return None


def _candidates(version: str) -> Iterator[Path]:
    found = shutil.which(f"python{version}")
    if found is not None:
        yield Path(found)
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    yield from sorted(pyenv.glob(f"versions/{version}.*/bin/python{version}"))


def _version_of(interpreter: Path) -> str | None:
    """The version that the interpreter reports. A shim of pyenv may exist for a version that it does not run."""
    program = "import sys; print('%d.%d' % sys.version_info[:2])"
    done = subprocess.run([interpreter, "-c", program], capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else None
