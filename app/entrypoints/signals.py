"""Waits for the end of a process: SIGTERM, SIGINT, or the end of its parent."""

import asyncio
import signal


async def wait_for_signal(parent_pipe: int | None = None) -> None:
    """Return after SIGTERM or SIGINT, or when the other end of the pipe closes."""
    loop = asyncio.get_running_loop()
    received = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, received.set)
    if parent_pipe is not None:
        loop.add_reader(parent_pipe, received.set)
    try:
        await received.wait()
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
        if parent_pipe is not None:
            loop.remove_reader(parent_pipe)
