"""Starts the command line, from a checkout and from an installed wheel alike.

A wheel carries the folders `app` and `alembic` and the file `alembic.ini` inside this package, so that it installs no
top-level module of a name as common as `app`. Only a process of this service finds them: its first place to import
from is this folder. In a checkout they are beside this package, and nothing has to be added.
"""

import sys
from pathlib import Path


def main() -> None:
    """Run the command line with the arguments of the process. Ends the process with its exit status."""
    here = Path(__file__).parent
    if (here / "app").is_dir():
        sys.path.insert(0, str(here))
    from app.cli import main as run  # noqa: PLC0415 - it is found only now

    run()
