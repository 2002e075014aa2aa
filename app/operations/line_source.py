"""Reads the lines of a file or a pipe in blocks, so that memory does not depend on their number."""

import asyncio
import os
import stat
from collections.abc import AsyncIterator

from app.integration.file_rows import LONGEST_ROW

BLOCK = 131_072


class LineSource:
    """Reads lines from an open descriptor. `stopping` ends it between two blocks.

    `size` is the number of bytes if it is known, `position` the number of bytes read. `has_ended`: all were read.
    """

    def __init__(self, descriptor: int, stopping: asyncio.Event) -> None:
        self._descriptor = descriptor
        self._stopping = stopping
        self._rest = b""
        kind = os.fstat(descriptor)
        # A file is always readable, and the event loop cannot wait for it.
        self._has_to_wait = stat.S_ISFIFO(kind.st_mode) or stat.S_ISSOCK(kind.st_mode) or os.isatty(descriptor)
        self.size = kind.st_size if stat.S_ISREG(kind.st_mode) else None
        self.position = 0
        self.has_ended = False

    async def blocks(self) -> AsyncIterator[list[bytes]]:
        """The lines without their line feeds, in blocks as they arrive."""
        while not self._stopping.is_set():
            if self._has_to_wait:
                await self._wait()
                if self._stopping.is_set():
                    return
            block = os.read(self._descriptor, BLOCK)
            if not block:
                self.has_ended = True
                if self._rest:
                    yield [self._rest]
                return
            self.position += len(block)
            *lines, rest = (self._rest + block).split(b"\n")
            # A line that is too long is cut to a length that is still refused.
            self._rest = rest[: LONGEST_ROW + 2]
            if lines:
                yield lines

    async def _wait(self) -> None:
        """Wait until there is data, or until `stopping` is set."""
        loop = asyncio.get_running_loop()
        readable = asyncio.Event()
        waits = [asyncio.create_task(event.wait()) for event in (readable, self._stopping)]
        loop.add_reader(self._descriptor, readable.set)
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            loop.remove_reader(self._descriptor)
            for wait in waits:
                wait.cancel()
