"""The command that shows events and backlogs while the service runs."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import logging
import time
from collections import deque
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING

import click

from app.cancellation import cancel
from app.cli.output import console, is_terminal, json_option, printable, show_json, table
from app.cli.running import load_settings, run_with_service

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from rich.console import Group

    from app.bootstrap import Service
    from app.operations.watch import SeenEvent, Status

_REFRESH_SECONDS = 0.2
_ROWS_ABOVE_EVENTS = 26
"""The status, and a row for each type of event."""


@click.command()
@click.option(
    "--interval",
    default=2.0,
    show_default=True,
    type=click.FloatRange(0.1, 3600),
    help="The seconds between two status reports.",
)
@json_option
def watch(*, interval: float, as_json: bool) -> None:
    """Show published events and backlogs until Ctrl-C.

    Shows new events as they are published, their rate, and the backlogs of outbox, topics and dead letters, and
    the number of held lines. It does not affect the service.
    """
    from app.entrypoints.signals import wait_for_signal
    from app.operations.watch import Watch

    settings = load_settings()
    # The status reports the same errors.
    for name in ("aiokafka", "asyncio", "app.adapters.kafka.clients"):
        logging.getLogger(name).setLevel(logging.CRITICAL)

    async def follow(service: Service) -> None:
        with _view(as_json=as_json) as view:
            async for item in Watch(service, interval=interval).items():
                view(item)

    async def main_task(service: Service) -> None:
        tasks = {asyncio.create_task(follow(service)), asyncio.create_task(wait_for_signal())}
        done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        await cancel(pending)
        for task in done:
            task.result()

    run_with_service(settings, main_task)


def _view(*, as_json: bool) -> AbstractContextManager[Callable[[SeenEvent | Status], None]]:
    """The function that shows each item."""
    if as_json:
        return nullcontext(_show_json)
    return _screen() if is_terminal() else nullcontext(_show_line)


def _show_json(item: SeenEvent | Status) -> None:
    from app.operations.watch import Status

    kind = "status" if isinstance(item, Status) else "event"
    show_json({"kind": kind, **dataclasses.asdict(item)})


def _show_line(item: SeenEvent | Status) -> None:
    from app.operations.watch import Status

    if isinstance(item, Status):
        click.echo(printable(f"-- {'; '.join(_state(item))}"))
    else:
        click.echo(printable(f"{item.time} {item.sku} #{item.sequence} {item.type} {_data(item)}"))


@contextmanager
def _screen() -> Iterator[Callable[[SeenEvent | Status], None]]:
    """A page on the terminal, redrawn at most five times a second."""
    from rich.live import Live

    from app.operations.watch import Status

    page = console()
    events: deque[SeenEvent] = deque(maxlen=max(1, page.height - _ROWS_ABOVE_EVENTS))
    last: Status | None = None
    drawn = 0.0

    with Live(console=page, screen=True, auto_refresh=False) as live:

        def show(item: SeenEvent | Status) -> None:
            nonlocal last, drawn
            if isinstance(item, Status):
                last = item
            else:
                events.append(item)
            now = time.monotonic()
            if isinstance(item, Status) or now - drawn > _REFRESH_SECONDS:
                live.update(_page(last, events), refresh=True)
                drawn = now

        yield show


def _page(status: Status | None, events: Iterable[SeenEvent]) -> Group:
    from rich.console import Group
    from rich.text import Text

    state = ["connecting"] if status is None else _state(status)
    heads = [Text(printable(line), style="bold red" if line.startswith("!") else "bold") for line in state]
    types = (
        [] if status is None else [(name, f"{seen}", f"{status.rates[name]:.1f}") for name, seen in status.seen.items()]
    )
    rows = [(each.time[11:23], each.sku, each.sequence, each.type, _data(each)) for each in events]
    return Group(
        *heads,
        table(("event", "seen", "per second"), sorted(types)),
        table(("time", "SKU", "#", "event", "data"), rows),
    )


def _state(status: Status) -> list[str]:
    """A short text for each part of the status."""
    parts = [f"! {name}: {fault}" for name, fault in status.faults.items()]
    if status.reading:
        parts.append(f"{sum(status.seen.values())} events, {sum(status.rates.values()):.1f} per second")
    if (backlog := status.backlog) is not None:
        age = "" if backlog.oldest_seconds is None else f", the oldest for {backlog.oldest_seconds:.1f} s"
        parts.append(f"outbox {backlog.pending}{age}")
        parts.append(f"dead letters {backlog.dead_letters}")
        parts.append(f"held lines {backlog.held_lines}")
    parts += [f"lag of {group} {lag}" for group, lag in status.lags.items()]
    return parts or ["connecting"]


def _data(event: SeenEvent) -> str:
    """The data without the SKU, which has a column of its own."""
    if not isinstance(event.data, dict):
        return str(event.data)
    pairs = ((name, value if isinstance(value, str) else json.dumps(value)) for name, value in event.data.items())
    return " ".join(f"{name}={value}" for name, value in pairs if name != "sku")
