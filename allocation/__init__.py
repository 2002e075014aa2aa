"""Starts the command line, from a checkout or from an installed wheel.

In a wheel the folders `app` and `alembic` and the file `alembic.ini` are inside this package, so that it does not
install a top-level module with the common name `app`. `main` puts this folder first in the import path. In a checkout
they are beside this package.
"""

import sys
from pathlib import Path


def main() -> None:
    """Run the command line with the arguments of the process. Ends the process with its exit status."""
    here = Path(__file__).parent
    if (here / "app").is_dir():
        sys.path.insert(0, str(here))
    from app.cli import main as run  # noqa: PLC0415 - the import path is complete only now

    run()
