"""The service with a failpoint: it exits, as if by SIGKILL, when it reaches a named point.

`python -m faults.failing POINT NTH -- consume` exits the NTH time the point is reached. With
`python -m faults.failing --armed-by FILE -- consume` all points are watched, and FILE, once it exists, names the point
(`POINT NTH`, counted from then on). The methods of the service are wrapped before it starts.
"""

import functools
import importlib
import itertools
import os
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import click

from faults.stack import Role

STATUS = 77
"""The exit status of a process that has reached its failpoint."""


@dataclass(frozen=True)
class Point:
    """A point before or after a method. `needs_result`: only calls with a result count."""

    role: Role
    owner: str
    method: str
    when: Literal["before", "after"]
    needs_result: bool = False


_UNIT_OF_WORK = "app.adapters.postgresql.unit_of_work:SqlUnitOfWork"
_OUTBOX = "app.adapters.postgresql.outbox_reader:OutboxReader"

POINTS: dict[str, Point] = {
    "serve-before-commit": Point("serve", _UNIT_OF_WORK, "_commit", "before"),
    "serve-after-commit": Point("serve", _UNIT_OF_WORK, "_commit", "after"),
    "serve-before-answer": Point("serve", "app.service_layer.messagebus:MessageBus", "handle", "after"),
    "consume-before-commit": Point("consume", _UNIT_OF_WORK, "_commit", "before"),
    "consume-after-commit": Point("consume", _UNIT_OF_WORK, "_commit", "after"),
    "consume-before-offsets": Point("consume", "app.entrypoints.kafka.subscription:Subscription", "_commit", "before"),
    "consume-after-offsets": Point("consume", "app.entrypoints.kafka.subscription:Subscription", "_commit", "after"),
    "relay-after-claim": Point("relay", _OUTBOX, "claim", "after", needs_result=True),
    "relay-before-send": Point("relay", "app.entrypoints.kafka.publisher:EventPublisher", "publish", "before"),
    "relay-amid-send": Point("relay", "app.entrypoints.kafka.publisher:EventPublisher", "_publish_to", "after"),
    "relay-before-delete": Point("relay", _OUTBOX, "delete", "before"),
    "relay-after-delete": Point("relay", _OUTBOX, "delete", "after"),
    "notify-before-memory": Point("notify", "app.adapters.postgresql.notifier_memory:NotifierMemory", "save", "before"),
    "notify-after-memory": Point("notify", "app.adapters.postgresql.notifier_memory:NotifierMemory", "save", "after"),
}


def end_at(name: str, point: Point, comes: Callable[[str], bool]) -> None:
    """Wrap the method so that the process exits when `comes` returns True."""
    module, _, class_name = point.owner.partition(":")
    owner = getattr(importlib.import_module(module), class_name)
    original: Callable[..., Awaitable[Any]] = getattr(owner, point.method)

    @functools.wraps(original)
    async def wrapper(*arguments: Any, **named: Any) -> Any:  # noqa: ANN401 - any method
        if point.when == "before" and comes(name):
            os._exit(STATUS)
        result = await original(*arguments, **named)
        if point.when == "after" and (result or not point.needs_result) and comes(name):
            os._exit(STATUS)
        return result

    setattr(owner, point.method, wrapper)


def nth_time(name: str, nth: int) -> Callable[[str], bool]:
    """True at the nth time that the point is reached."""
    counter = itertools.count(1)
    return lambda reached: reached == name and next(counter) == nth


def armed_by(file: Path) -> Callable[[str], bool]:
    """True at the point and time that the file names; the file is then removed.

    The next process watches the same file, and must not exit at once as well.
    """
    seen: dict[str, int] = {}

    def comes(reached: str) -> bool:
        try:
            name, nth = file.read_text().split()
        except (FileNotFoundError, ValueError):
            seen.clear()
            return False
        if reached != name:
            return False
        seen[name] = seen.get(name, 0) + 1
        if seen[name] < int(nth):
            return False
        file.unlink()
        return True

    return comes


@click.command(context_settings={"ignore_unknown_options": True})
@click.option("--armed-by", "file", type=click.Path(path_type=Path), help="The file that says which point is meant.")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def main(file: Path | None, arguments: tuple[str, ...]) -> None:
    """Run the service, and exit at a named point: POINT NTH -- ROLE [OPTION]..."""
    if len(arguments) < (1 if file is not None else 3):
        raise click.UsageError("say which point, at which time, and how to start the service")
    if file is not None:
        comes, rest = armed_by(file), arguments
        points = {name: point for name, point in POINTS.items() if point.role == rest[0]}
    else:
        name, nth, *remaining = arguments
        rest = tuple(remaining)
        if name not in POINTS:
            raise click.UsageError(f"there is no point {name}; there are {', '.join(POINTS)}")
        comes, points = nth_time(name, int(nth)), {name: POINTS[name]}
    for name, point in points.items():
        end_at(name, point, comes)
    sys.argv = ["allocation", *rest]

    from app.cli import main as service  # noqa: PLC0415 - only after its parts have been wrapped

    service(list(rest))


if __name__ == "__main__":
    main()
