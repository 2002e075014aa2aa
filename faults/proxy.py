"""A TCP proxy in front of the database or the broker, in its own process.

`python -m faults.proxy LISTEN TARGET` reads its mode from lines on stdin and answers each with the same line.

- `pass` forwards everything.
- `hole` accepts and keeps connections, forwards nothing and resets none: a network that drops packets. Buffered data is
  forwarded when the mode changes back, as TCP would retransmit it.
- `forget` forwards new connections only, without resetting the old ones: a firewall that lost its state. Use it after
  `hole`.
- `slow` delivers each piece of data SLOW_SECONDS later, and one in a hundred packets after a retransmission: what comes
  behind it waits, as in TCP. No packet is dropped, because the kernel's own TCP is between proxy and peer.
- `cut` resets all present and new connections.
- `to PORT` resets all present connections, and forwards new ones to that port: a name that now has another address.
"""

import asyncio
import contextlib
import random
import signal
import socket
import struct
import subprocess
import sys
import time
from typing import Literal, Self

from app.embedded.process import LOOPBACK, dies_with_parent

Mode = Literal["pass", "hole", "forget", "slow", "cut"]
CHUNK = 65_536
PACKET = 1448
SLOW_SECONDS, LOSS, RETRANSMISSION = 0.05, 0.01, 0.2
"""The delay of each packet, the share that is lost, and the seconds until TCP sends one again: Linux's least."""

IN_FLIGHT = 64
STOP_SECONDS = 5.0
# Closing with this option sends RST instead of FIN.
RESET = struct.pack("ii", 1, 0)


class Proxy:
    """The proxy's process. Use it from one thread at a time."""

    def __init__(self, listen: int, target: int) -> None:
        """Store the local ports from which and to which the proxy forwards."""
        self.port = listen
        self._command = [sys.executable, "-m", "faults.proxy", str(listen), str(target)]
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start it in the mode `pass`, and return when it listens. Does nothing if it runs already."""
        if self._process is None:
            self._process = subprocess.Popen(
                [*dies_with_parent(signal.SIGKILL), *self._command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
            self.set_mode("pass")

    def set_mode(self, mode: Mode) -> None:
        """Change the mode, and return when it is active."""
        self._order(mode)

    def lead_to(self, target: int) -> None:
        """Reset all present connections, and forward new ones to another port."""
        self._order(f"to {target}")

    def _order(self, mode: str) -> None:
        assert self._process is not None, "the proxy has not been started"
        assert self._process.stdin is not None, "it was started with pipes"
        assert self._process.stdout is not None, "it was started with pipes"
        self._process.stdin.write(f"{mode}\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline().strip()
        assert answer == mode, f"the proxy answered {answer!r} to {mode!r}"

    def stop(self) -> None:
        """Stop it. Does nothing if it does not run."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(STOP_SECONDS)
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    with contextlib.suppress(BrokenPipeError):
                        pipe.close()
            self._process = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class _Relay:
    def __init__(self, target: int) -> None:
        self._target = target
        self._flows = asyncio.Event()
        self._cut = False
        self._slow = False
        self._writers: set[asyncio.StreamWriter] = set()

    def set_mode(self, mode: str) -> None:
        if mode.startswith("to "):
            self._target = int(mode.removeprefix("to "))
            for writer in self._writers:
                _reset(writer)
            mode = "pass"
        self._cut, self._slow = mode == "cut", mode == "slow"
        if mode == "forget":
            self._flows = asyncio.Event()
        if mode == "hole":
            self._flows.clear()
        else:
            self._flows.set()
        if self._cut:
            for writer in self._writers:
                _reset(writer)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        # Per connection: a forgotten connection never forwards again.
        flows = self._flows
        try:
            # In `hole` the connection is accepted, and the server gets it only later.
            await flows.wait()
            if self._cut:
                _reset(writer)
                return
            # A handshake takes a way there and back.
            await asyncio.sleep(2 * SLOW_SECONDS if self._slow else 0)
            onward_reader, onward_writer = await asyncio.open_connection(LOOPBACK, self._target)
        except OSError:
            # The server is down; without the proxy, the connection would be refused.
            _reset(writer)
            return
        finally:
            self._writers.discard(writer)
        ends = {writer, onward_writer}
        self._writers |= ends
        try:
            await asyncio.gather(self._pump(reader, onward_writer, flows), self._pump(onward_reader, writer, flows))
        finally:
            self._writers -= ends
            for end in ends:
                end.close()

    def _delay(self, size: int) -> float:
        if not self._slow:
            return 0.0
        packets = -(-size // PACKET)
        is_lost = random.random() < 1 - (1 - LOSS) ** packets
        return SLOW_SECONDS + (RETRANSMISSION if is_lost else 0.0)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, flows: asyncio.Event) -> None:
        flight: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(IN_FLIGHT)
        delivery = asyncio.create_task(_deliver(flight, writer))
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK):
                await flows.wait()
                await flight.put((time.monotonic() + self._delay(len(data)), data))
        await flows.wait()
        await flight.put((0.0, b""))
        await delivery
        # If one end closes, both are closed, which suits protocols without half-closed connections.
        writer.close()


async def _deliver(flight: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter) -> None:
    """Write the data when they are due, in their order, until empty data come."""
    while True:
        due, data = await flight.get()
        if not data:
            return
        # In the mode `pass` they are due at once.
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        # What the peer does not take is dropped, so that the sender never waits for it.
        with contextlib.suppress(OSError):
            writer.write(data)
            await writer.drain()


def _reset(writer: asyncio.StreamWriter) -> None:
    connection: socket.socket | None = writer.get_extra_info("socket")
    if connection is not None:
        with contextlib.suppress(OSError):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    writer.transport.abort()


async def _run(listen: int, target: int) -> None:
    relay = _Relay(target)
    server = await asyncio.start_server(relay.serve, LOOPBACK, listen, backlog=512)
    modes = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(modes), sys.stdin)
    async with server:
        while line := (await modes.readline()).decode().strip():
            relay.set_mode(line)
            print(line, flush=True)


if __name__ == "__main__":
    asyncio.run(_run(int(sys.argv[1]), int(sys.argv[2])))
