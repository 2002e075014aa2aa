"""The commands for dead letters."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from app.cli.output import console, is_terminal, json_option, printable, show_fields, show_json, table
from app.cli.running import load_settings, run_with_service

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from app.adapters.postgresql.dead_letters import Summary
    from app.bootstrap import Service

_LETTER_ID = click.IntRange(1, 2**63 - 1)


@click.group(name="dead-letters")
def dead_letters_group() -> None:
    """Manage dead letters: messages that could not be handled."""


@dead_letters_group.command(name="list")
@json_option
def list_dead_letters(*, as_json: bool) -> None:
    """List the dead letters, oldest first: a table on a terminal, otherwise one line for each."""
    from app.operations import dead_letters

    async def show(service: Service) -> None:
        if as_json:
            async for kept in dead_letters.letters(service):
                show_json(dead_letters.as_json(kept))
            return
        seen = False
        # A table for each page: a single one would need all letters in memory.
        async for page in dead_letters.summaries(service):
            seen = True
            if is_terminal():
                rows = map(_row, page)
                console().print(table(("number", "since", "from", "id", "attempts", "reason"), rows))
                continue
            for letter in page:
                number, since, record, message_id, attempts, reason = map(printable, _row(letter))
                click.echo(f"{number} {since} {record} id={message_id} attempts={attempts} {reason}")
        if is_terminal() and not seen:
            click.echo("There are no dead letters.")

    run_with_service(load_settings(), show)


@dead_letters_group.command(name="show")
@click.argument("letter_id", metavar="ID", type=_LETTER_ID)
@json_option
def show_dead_letter(letter_id: int, *, as_json: bool) -> None:
    """Show a dead letter with its reason, its source, its headers and its bytes."""
    from app.operations import dead_letters

    async def show(service: Service) -> None:
        async for kept in dead_letters.letters(service, [letter_id]):
            if as_json:
                show_json(dead_letters.as_json(kept))
            else:
                show_fields(dead_letters.fields(kept))
            return
        _refuse_missing([letter_id], ())

    run_with_service(load_settings(), show)


@dead_letters_group.command(name="retry")
@click.argument("letter_ids", metavar="[ID]...", nargs=-1, type=_LETTER_ID)
def retry_dead_letters(letter_ids: Sequence[int]) -> None:
    """Handle the dead letters with the IDs again, or all of them."""
    from app.operations import dead_letters

    async def retry(service: Service) -> None:
        failures = 0
        seen = set()
        async for report in dead_letters.retry(service, letter_ids):
            click.echo(printable(report.line))
            failures += not report.restored
            seen.add(report.letter_id)
        _refuse_missing(letter_ids, seen)
        if failures:
            raise click.ClickException(f"{failures} dead letters could not be handled")

    run_with_service(load_settings(), retry)


@dead_letters_group.command(name="discard")
@click.argument("letter_ids", metavar="ID...", nargs=-1, required=True, type=_LETTER_ID)
def discard_dead_letters(letter_ids: Sequence[int]) -> None:
    """Delete dead letters permanently, without handling them."""
    from app.operations import dead_letters

    async def discard(service: Service) -> None:
        seen = set()
        async for letter_id in dead_letters.discard(service, letter_ids):
            click.echo(f"{letter_id} discarded")
            seen.add(letter_id)
        _refuse_missing(letter_ids, seen)

    run_with_service(load_settings(), discard)


def _row(letter: Summary) -> tuple[str, ...]:
    return (
        str(letter.id),
        letter.created_at.isoformat(timespec="seconds"),
        f"{letter.topic}[{letter.partition}]@{letter.offset}",
        letter.message_id or "-",
        str(letter.attempts),
        " ".join(letter.reason.split()),
    )


def _refuse_missing(wanted: Sequence[int], seen: Collection[int]) -> None:
    missing = sorted(set(wanted) - set(seen))
    if missing:
        raise click.UsageError(f"there is no dead letter with the id {', '.join(map(str, missing))}")
