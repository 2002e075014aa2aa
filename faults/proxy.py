"""A TCP proxy of our own, to be put before the database or the broker, in a process of its own.

`python -m faults.proxy LISTEN TARGET` takes its mode in lines on stdin and answers each with the same line.

- `pass` forwards everything.
- `hole` accepts and keeps connections and forwards nothing, and resets none: a network that swallows packets. What came
  meanwhile is forwarded when the mode changes back, as TCP would send it again.
- `forget` forwards what is connected from now on, and never again what was connected before: a firewall on the way has
  lost its memory, and nobody resets anything. Use it after `hole`.
- `cut` resets every connection there is, and each new one.
- `to PORT` resets every connection there is, and forwards each new one to that port: a name that leads elsewhere now.
"""

import asyncio
import contextlib
import signal
import socket
import struct
import subprocess
import sys
from typing import Literal, Self

from app.embedded.process import LOOPBACK, dies_with_parent

Mode = Literal["pass", "hole", "forget", "cut"]
CHUNK = 65_536
STOP_SECONDS = 5.0
# Closing with this option sends a reset instead of the usual farewell.
RESET = struct.pack("ii", 1, 0)


class Proxy:
    """The proxy's process, as the harness sees it. Use it from one thread at a time."""

    def __init__(self, listen: int, target: int) -> None:
        """Describe a proxy from one port of this machine to another."""
        self.port = listen
        self._command = [sys.executable, "-m", "faults.proxy", str(listen), str(target)]
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start it, in the mode `pass`, and return once it listens. A no-op when it runs already."""
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
        """Change what it does with what it is sent, and return once it does so."""
        self._order(mode)

    def lead_to(self, target: int) -> None:
        """Reset every connection there is, and lead new ones to another port."""
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
        """End it. Does nothing when it does not run."""
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
        self._writers: set[asyncio.StreamWriter] = set()

    def set_mode(self, mode: str) -> None:
        if mode.startswith("to "):
            self._target = int(mode.removeprefix("to "))
            for writer in self._writers:
                _reset(writer)
            mode = "pass"
        self._cut = mode == "cut"
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
        # This connection's own: what is forgotten never flows again.
        flows = self._flows
        try:
            # In the hole nobody answers: the connection is taken, and the server behind hears of it only later.
            await flows.wait()
            if self._cut:
                _reset(writer)
                return
            onward_reader, onward_writer = await asyncio.open_connection(LOOPBACK, self._target)
        except OSError:
            # The server behind is away, and a caller without the proxy would be told so.
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

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, flows: asyncio.Event) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK):
                await flows.wait()
                writer.write(data)
                await writer.drain()
        await flows.wait()
        # Either end hangs up on both, which suits protocols that close a connection as a whole.
        writer.close()


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
