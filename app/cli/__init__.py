"""The command line. A usage error prints one line and exits with status 2.

Each command imports what it needs when it runs, because importing everything takes seconds.
"""

from __future__ import annotations

import gc
import sys
from typing import TYPE_CHECKING

import click

from app.cli.archive import archive_group
from app.cli.completion import completion
from app.cli.dead_letters import dead_letters_group
from app.cli.doctor import doctor
from app.cli.documents import asyncapi, openapi
from app.cli.errors import explain
from app.cli.identity import api_keys
from app.cli.importing import import_command
from app.cli.manual import man
from app.cli.operators import advance_clocks, health, migrate, reconcile
from app.cli.processes import consume, dev, notify, relay, run, serve_command
from app.cli.watch import watch

if TYPE_CHECKING:
    from collections.abc import Sequence


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="allocation")
def cli() -> None:
    """Allocates order lines to batches of stock.

    Settings are environment variables with the prefix ALLOCATION_; .env.example lists them all.
    """


for _command in (
    *(dev, run, serve_command, consume, relay, notify),
    *(migrate, doctor, watch, health, dead_letters_group, reconcile, advance_clocks, import_command, archive_group),
    *(api_keys, openapi, asyncapi, completion, man),
):
    cli.add_command(_command)


def main(arguments: Sequence[str] | None = None) -> None:
    """The entry point of the console script."""
    # Scanning what is loaded takes a tenth of the start. `run_with_service` enables it again.
    gc.disable()
    try:
        _run(arguments)
    finally:
        gc.enable()


def _run(arguments: Sequence[str] | None) -> None:
    """Run a command. Exits with its status if it fails."""
    try:
        cli.main(arguments, prog_name="allocation", standalone_mode=False)
    except click.exceptions.Exit as error:
        sys.exit(error.exit_code)
    except click.exceptions.NoArgsIsHelpError as error:
        # A group without a command prints its help.
        click.echo(error.message)
    except click.UsageError as error:
        _fail(error.format_message(), 2)
    except click.ClickException as error:
        _fail(error.format_message(), 1)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except Exception as error:
        explanation = explain(error)
        if explanation is None:
            raise
        _fail(*explanation)


def _fail(message: str, status: int) -> None:
    # Click puts each choice of an option on a line of its own.
    click.echo(f"allocation: {' '.join(message.split())}", err=True)
    sys.exit(status)
