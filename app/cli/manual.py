"""The command that prints the manual page, generated from the help texts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Iterator


@click.command()
@click.pass_context
def man(context: click.Context) -> None:
    """Print the manual page in the format of the program `man`.

    For example: allocation man > ~/.local/share/man/man1/allocation.1
    """
    root = context.find_root()
    click.echo("\n".join(_page(root)))


def _page(root: click.Context) -> Iterator[str]:
    yield '.TH ALLOCATION 1 "" "allocation" "User Commands"'
    yield from (".SH NAME", f"allocation \\- {_escaped(root.command.get_short_help_str(limit=200))}")
    yield from (".SH SYNOPSIS", ".B allocation", "[\\fIoptions\\fR] \\fIcommand\\fR [\\fIarguments\\fR]")
    yield ".SH DESCRIPTION"
    yield from _help(root.command)
    yield from _options(root)
    yield ".SH COMMANDS"
    yield from _commands(root)


def _commands(parent: click.Context) -> Iterator[str]:
    """Each command of the parent with its usage, help and options; a group precedes its commands."""
    group = parent.command
    for name in group.list_commands(parent) if isinstance(group, click.Group) else ():
        command = group.get_command(parent, name) if isinstance(group, click.Group) else None
        if command is None or command.hidden:
            continue
        context = click.Context(command, info_name=name, parent=parent)
        usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
        yield f'.SS "{_escaped(usage)}"'
        yield from _help(command)
        yield from _options(context)
        yield from _commands(context)


def _help(command: click.Command) -> Iterator[str]:
    for number, paragraph in enumerate((command.help or "").split("\n\n")):
        if number:
            yield ".PP"
        yield _escaped(" ".join(paragraph.replace("\b", "").split()))


def _options(context: click.Context) -> Iterator[str]:
    for parameter in context.command.get_params(context):
        record = parameter.get_help_record(context)
        if record is not None:
            yield from (".TP", f"\\fB{_escaped(record[0])}\\fR", _escaped(" ".join(record[1].split())))


def _escaped(text: str) -> str:
    """The text with roff's special characters escaped: backslash, hyphen, quotation mark, and a leading full stop."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-").replace('"', "\\(dq")
    return f"\\&{escaped}" if escaped.startswith((".", "'")) else escaped
