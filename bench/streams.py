"""Readers of the event stream: many connections in a process of its own.

`python -m bench.streams PORT STREAMS` prints a line when all are open, reads until its input is closed, and prints the
smallest and the largest number of events of a stream as JSON. It connects to 127.0.0.1 only.
"""

import asyncio
import json
import sys

import uvloop

HOST = "127.0.0.1"
REQUEST = b"GET /v1/events/stream HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
# The rest of the frame's type. A ping has none.
EVENT = b"\nevent: line_allocated"


class Stream(asyncio.Protocol):
    """An open stream, which counts its events."""

    def __init__(self) -> None:
        self.events = 0
        self.opened = asyncio.Event()
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the request."""
        transport.write(REQUEST)  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        """Count the events. The end of the data is kept, because a type can be divided."""
        self.opened.set()
        data = self._rest + data
        self.events += data.count(EVENT)
        self._rest = data[-len(EVENT) + 1 :]


async def read(port: int, streams: int) -> None:
    """Open the streams, and read until the input is closed."""
    loop = asyncio.get_running_loop()
    readers = [(await loop.create_connection(Stream, HOST, port))[1] for _ in range(streams)]
    await asyncio.gather(*(reader.opened.wait() for reader in readers))
    print("open", flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    counts = [reader.events for reader in readers]
    print(json.dumps({"least": min(counts), "most": max(counts)}), flush=True)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as main:
        main.run(read(int(sys.argv[1]), int(sys.argv[2])))
