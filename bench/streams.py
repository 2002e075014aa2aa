"""Readers of the event stream: many connections in a process of its own.

`python -m bench.streams PORT STREAMS [PREFIX]` prints a line when all are open, reads until its input is closed, and
prints the smallest and the largest number of events of a stream as JSON. With a prefix each stream has the events of
one SKU, the prefix and a number, and `disordered` counts the streams whose events were not 1, 2, 3 … in this order. It
connects to 127.0.0.1 only.
"""

import asyncio
import json
import re
import sys
from functools import partial

import uvloop

HOST = "127.0.0.1"
REQUEST = b"GET /v1/events/stream%b HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
# The rest of the frame's type. A ping has none.
EVENT = b"\nevent: line_allocated"
SEQUENCE = re.compile(rb'"sequence": ?"([0-9]+)"')


class Stream(asyncio.Protocol):
    """An open stream, which counts its events."""

    def __init__(self, query: str = "") -> None:
        self.events = 0
        self.is_ordered = True
        self.opened = asyncio.Event()
        self._query = query.encode()
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the request."""
        transport.write(REQUEST % self._query)  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        """Count the events. The end of the data is kept, because a type can be divided."""
        self.opened.set()
        if self._query:
            self._follow(self._rest + data)
            return
        data = self._rest + data
        self.events += data.count(EVENT)
        self._rest = data[-len(EVENT) + 1 :]

    def _follow(self, data: bytes) -> None:
        """Count the complete events, and check their sequences."""
        *frames, self._rest = data.split(b"\n\n")
        for frame in frames:
            sequence = SEQUENCE.search(frame)
            if sequence is not None:
                self.events += 1
                self.is_ordered &= int(sequence[1]) == self.events


async def read(port: int, streams: int, prefix: str) -> None:
    """Open the streams, and read until the input is closed."""
    loop = asyncio.get_running_loop()
    queries = [f"?sku={prefix}{number}" if prefix else "" for number in range(streams)]
    readers = [(await loop.create_connection(partial(Stream, query), HOST, port))[1] for query in queries]
    await asyncio.gather(*(reader.opened.wait() for reader in readers))
    print("open", flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    counts = [reader.events for reader in readers]
    found = {"least": min(counts), "most": max(counts)}
    if prefix:
        found["disordered"] = sum(not reader.is_ordered for reader in readers)
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as main:
        main.run(read(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3] if len(sys.argv) > 3 else ""))
