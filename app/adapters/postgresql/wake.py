"""A signal to one task, which remembers it until it waits."""

import asyncio


class Wake:
    """Wakes one task. A signal that comes while the task does not wait ends its next wait at once."""

    def __init__(self) -> None:
        self._signal = asyncio.Event()

    def set(self) -> None:
        """Wake the task."""
        self._signal.set()

    async def wait(self, timeout: float) -> None:  # noqa: ASYNC109 - a timeout is a normal outcome
        """Wait for a signal, at most `timeout` seconds."""
        try:
            async with asyncio.timeout(timeout):
                await self._signal.wait()
        except TimeoutError:
            return
        finally:
            self._signal.clear()
