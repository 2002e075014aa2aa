"""What the commands show: tables and colours for a person at a terminal, plain lines for a pipe, JSON for a program."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from rich.console import Console
    from rich.table import Table

json_option = click.option("--json", "as_json", is_flag=True, help="Show JSON: one object for each line.")

STYLES = {"ok": "green", "warning": "yellow", "fault": "bold red"}


def is_terminal() -> bool:
    """Whether a person looks at the output."""
    return sys.stdout.isatty()


def show_json(thing: Mapping[str, Any]) -> None:
    """One line for programs. Whatever is not ASCII is escaped, so it may be looked at as well."""
    click.echo(json.dumps(thing, default=str))


def printable(text: str) -> str:
    """The text in one line, and without anything that a terminal would obey: much of it comes from strangers."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape", "backslashreplace").decode()
        for character in text
    )


def console() -> Console:
    """Where tables go. Colours are left out for NO_COLOR and where nobody looks."""
    from rich.console import Console

    return Console(file=sys.stdout, markup=False, highlight=False, emoji=False)


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, styles: Mapping[str, str] = STYLES) -> Table:
    """A table of plain text; a cell that has a style of its own, such as "fault", is shown in it."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    shown = Table(*columns, box=box.SIMPLE_HEAD, pad_edge=False)
    for row in rows:
        shown.add_row(*(Text(printable(cell), style=styles.get(cell, "")) for cell in row))
    return shown


def show_fields(fields: Iterable[tuple[str, str]]) -> None:
    """Names and texts below each other; a text of several lines is set off below its name."""
    from rich.text import Text

    to = console()
    for name, text in fields:
        first, *more = text.split("\n")
        to.print(Text.assemble((f"{name:<10}", "bold"), printable(first)), soft_wrap=True)
        for line in more:
            to.print(Text(f"  {printable(line)}"), soft_wrap=True)
