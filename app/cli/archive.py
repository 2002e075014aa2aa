"""The commands for archives of events."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from app.cli.output import json_option, printable, show_json
from app.cli.running import load_settings, run_with_service

if TYPE_CHECKING:
    from datetime import datetime

    from app.adapters.postgresql.event_archives import Archive
    from app.bootstrap import Service


@click.group(name="archive")
def archive_group() -> None:
    """Move old events to files, so that the table of events stays small."""


@archive_group.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--before",
    required=True,
    metavar="DAY",
    type=click.DateTime(["%Y-%m-%d"]),
    help="A day before today, UTC. Events of earlier days are moved.",
)
def create(file: Path, before: datetime) -> None:
    """Move events of earlier days to FILE, gzip-compressed NDJSON.

    The file is complete on the disk before the first event is deleted. Afterwards the history of a product begins after
    the archived events, and says so. The command can run while the service runs. If it was interrupted, run it again:
    it deletes what is in a complete archive before it makes the next one. Keep the file: only `allocation archive
    restore` brings the events back.
    """
    from app.adapters.postgresql.event_archives import EventArchives
    from app.operations import archive

    async def move(service: Service) -> None:
        try:
            made = await archive.create(EventArchives(service.cells), file, before.date())
        except archive.ArchiveError as error:
            raise click.ClickException(str(error)) from None
        click.echo("There are no such events." if made is None else f"{made.events} events are in {file}.")

    run_with_service(load_settings(), move)


@archive_group.command(name="list")
@json_option
def list_archives(*, as_json: bool) -> None:
    """List the archives whose events are not in the database, oldest first.

    Each with the name that its file had, its events, the day before which they are, and the SHA-256 of the file.
    """
    from app.adapters.postgresql.event_archives import EventArchives

    async def show(service: Service) -> None:
        for made in await EventArchives(service.cells).archives():
            fields = _fields(made)
            if as_json:
                show_json(fields)
            else:
                click.echo(" ".join((printable(made.file), *(f"{name}={fields[name]}" for name in list(fields)[1:]))))

    run_with_service(load_settings(), show)


@archive_group.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
def restore(file: Path) -> None:
    """Insert the events of FILE again. The newest archive has to be restored first.

    The events are as before, and are not published again. If the command was interrupted, run it again.
    """
    from app.adapters.postgresql.event_archives import EventArchives
    from app.operations import archive

    async def insert(service: Service) -> None:
        try:
            restored = await archive.restore(EventArchives(service.cells), file)
        except archive.ArchiveError as error:
            raise click.ClickException(str(error)) from None
        click.echo(f"{restored.events} events of {file} are in the database again.")

    run_with_service(load_settings(), insert)


def _fields(made: Archive) -> dict[str, object]:
    return {
        "file": made.file,
        "events": made.events,
        "before": made.archived_before.date().isoformat(),
        "sha256": made.digest.hex(),
    }
