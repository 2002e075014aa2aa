"""Output of the commands: tables and colours on a terminal, plain lines in a pipe, JSON for programs."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from rich.console import Console
    from rich.table import Table

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, one object on each line.")

STYLES = {"ok": "green", "warning": "yellow", "fault": "bold red"}


def is_terminal() -> bool:
    """Whether standard output is a terminal."""
    return sys.stdout.isatty()


def show_json(thing: Mapping[str, Any]) -> None:
    """Print a JSON object on one line. Characters outside ASCII are escaped, so terminals can show it safely."""
    click.echo(json.dumps(thing, default=str))


def printable(text: str) -> str:
    """The text with control characters and line breaks escaped: callers could inject terminal sequences."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape", "backslashreplace").decode()
        for character in text
    )


def console() -> Console:
    """The console for tables. It prints no colours if NO_COLOR is set or the output is not a terminal."""
    from rich.console import Console

    return Console(file=sys.stdout, markup=False, highlight=False, emoji=False)


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, styles: Mapping[str, str] = STYLES) -> Table:
    """A table of plain text. A cell whose text is in `styles`, such as "fault", has that style."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    shown = Table(*columns, box=box.SIMPLE_HEAD, pad_edge=False)
    for row in rows:
        shown.add_row(*(Text(printable(cell), style=styles.get(cell, "")) for cell in row))
    return shown


def show_fields(fields: Iterable[tuple[str, str]]) -> None:
    """Print names and texts; the further lines of a text are indented below its name."""
    from rich.text import Text

    to = console()
    for name, text in fields:
        first, *more = text.split("\n")
        to.print(Text.assemble((f"{name:<10}", "bold"), printable(first)), soft_wrap=True)
        for line in more:
            to.print(Text(f"  {printable(line)}"), soft_wrap=True)
