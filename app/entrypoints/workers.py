"""Several processes for one port: they share the listening socket, and an idle one accepts the next connection.

Each worker is a process `allocation serve` with the inherited socket. A worker that ends is replaced. The workers have
one end of a pipe, which the kernel closes when the parent ends, even by SIGKILL; then they stop.
"""

import asyncio
import logging
import os
import socket
import sys
from collections.abc import Sequence

from app.entrypoints.signals import wait_for_signal

log = logging.getLogger(__name__)

RESTART_DELAY = 1.0


async def supervise(listener: socket.socket, workers: int, *, grace: float, metrics_port: int | None = None) -> None:
    """Keep the workers running until SIGTERM or SIGINT, then stop them within `grace` seconds.

    The first worker serves its metrics on `metrics_port`, the next ones on the ports after it.
    """
    alive, held = os.pipe()
    os.set_inheritable(alive, True)  # noqa: FBT003 - positional in the standard library
    listener.set_inheritable(True)
    # Not `-m app`, because a wheel has no such top-level module. -P: without the working directory in sys.path.
    command = (sys.executable, "-P", "-m", "allocation", "serve", "--inherited", f"{listener.fileno()},{alive}")
    commands = [
        command if metrics_port is None else (*command, "--metrics-port", str(metrics_port + number))
        for number in range(workers)
    ]
    keepers = [asyncio.create_task(_keep_running(each, (listener.fileno(), alive), grace)) for each in commands]
    try:
        await wait_for_signal()
    finally:
        for keeper in keepers:
            keeper.cancel()
        await asyncio.gather(*keepers, return_exceptions=True)
        os.close(held)
        os.close(alive)


async def _keep_running(command: Sequence[str], descriptors: Sequence[int], grace: float) -> None:
    while True:
        # In a session of its own, so that Ctrl-C does not reach the worker directly.
        process = await asyncio.create_subprocess_exec(*command, pass_fds=descriptors, start_new_session=True)
        try:
            status = await process.wait()
        except asyncio.CancelledError:
            process.terminate()
            try:
                async with asyncio.timeout(grace):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()
            raise
        log.warning("worker %d ended with status %d; starting another one", process.pid, status)
        await asyncio.sleep(RESTART_DELAY)
