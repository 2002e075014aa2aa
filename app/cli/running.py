"""Loads the settings and runs the task of a command with the service."""

from __future__ import annotations

import asyncio
import gc
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from app.bootstrap import Service
    from app.settings import Settings


GARBAGE_THRESHOLDS = (10_000, 20, 100)
"""How many more containers are allocated than freed before the youngest are scanned, and after how many scans the next
generation is scanned too. With Python's (700, 10, 10) all 100,000 lines of a large command were scanned again and
again, each time for 0.2 seconds in which nothing else ran."""


def load_settings() -> Settings:
    """The settings; also configures logging. Raises click.UsageError, which names an invalid setting."""
    from pydantic import ValidationError

    from app.observability import logging
    from app.settings import Settings

    try:
        settings = Settings()
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        # An error that concerns several settings names them in its message.
        where = "".join(f"ALLOCATION_{str(name).upper()}: " for name in fault["loc"][:1])
        raise click.UsageError(f"{where}{fault['msg']}") from None
    logging.configure(settings.log_format, settings.log_level, settings.log_keys)
    return settings


def run_with_service(settings: Settings, main_task: Callable[[Service], Coroutine[Any, Any, None]]) -> None:
    """Run a task with the service, on uvloop where it is installed."""
    from app.bootstrap import bootstrap

    async def with_service() -> None:
        async with bootstrap(settings) as service:
            # Everything loaded so far stays in memory. Scanning it takes the garbage collector a tenth of a second
            # each time.
            gc.collect()
            gc.freeze()
            gc.set_threshold(*GARBAGE_THRESHOLDS)
            gc.enable()
            await main_task(service)

    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(with_service())


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:  # uvloop does not support Windows.
        return None
    return uvloop.new_event_loop
