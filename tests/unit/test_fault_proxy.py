"""The proxy of `make faults`: what passes, what is held back, what is reset."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from app.embedded.process import LOOPBACK, free_port
from faults.proxy import SLOW_SECONDS, Proxy

SECONDS = 60.0
A_MOMENT = 0.2


@asynccontextmanager
async def echo_server() -> AsyncIterator[int]:
    handlers: set[asyncio.Task[None] | None] = set()

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handlers.add(asyncio.current_task())
        with contextlib.suppress(ConnectionResetError):
            while line := await reader.readline():
                writer.write(line)
        writer.close()
        with contextlib.suppress(ConnectionResetError):
            await writer.wait_closed()

    async with await asyncio.start_server(echo, LOOPBACK, 0) as server:
        yield server.sockets[0].getsockname()[1]
        # The proxy has hung up by now.
        await asyncio.wait([handler for handler in handlers if handler is not None])


@asynccontextmanager
async def connected() -> AsyncIterator[tuple[Proxy, asyncio.StreamReader, asyncio.StreamWriter]]:
    """A proxy before an echo, and a connection through it that works."""
    async with echo_server() as target, asyncio.timeout(SECONDS):
        with Proxy(free_port(), target) as proxy:
            reader, writer = await asyncio.open_connection(LOOPBACK, proxy.port)
            writer.write(b"one\n")
            assert await reader.readline() == b"one\n"
            yield proxy, reader, writer


async def test_a_hole_swallows_without_a_reset_and_gives_back_what_it_swallowed() -> None:
    async with connected() as (proxy, reader, writer):
        proxy.set_mode("hole")
        newcomer, late = await asyncio.open_connection(LOOPBACK, proxy.port)
        writer.write(b"two\n")
        late.write(b"three\n")
        # That nothing comes can only be seen by waiting for it.
        for silent in (reader, newcomer):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(silent.readline(), A_MOMENT)

        proxy.set_mode("pass")
        assert await reader.readline() == b"two\n"
        assert await newcomer.readline() == b"three\n"
        for each in (writer, late):
            each.close()
            await each.wait_closed()


async def test_what_was_connected_before_the_proxy_forgot_never_hears_anything_again() -> None:
    async with connected() as (proxy, reader, writer):
        proxy.set_mode("hole")
        proxy.set_mode("forget")

        writer.write(b"two\n")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.readline(), A_MOMENT)
        newcomer, late = await asyncio.open_connection(LOOPBACK, proxy.port)
        late.write(b"three\n")
        assert await newcomer.readline() == b"three\n"
        for each in (writer, late):
            each.close()
            await each.wait_closed()


async def test_a_cut_resets_what_there_is_and_what_comes() -> None:
    async with connected() as (proxy, reader, writer):
        proxy.set_mode("cut")

        with pytest.raises(ConnectionResetError):
            await reader.readline()
        writer.close()
        # It may be so fast that even connecting fails.
        with pytest.raises(ConnectionResetError):
            await ask(proxy.port)


async def ask(port: int) -> bytes:
    reader, writer = await asyncio.open_connection(LOOPBACK, port)
    try:
        return await reader.readline()
    finally:
        writer.close()


async def test_slow_delays_each_way_keeps_the_order_and_can_be_ended() -> None:
    async with connected() as (proxy, reader, writer):
        proxy.set_mode("slow")
        began = time.monotonic()
        for number in range(50):
            writer.write(f"{number}\n".encode())
            await writer.drain()
        assert [await reader.readline() for _ in range(50)] == [f"{number}\n".encode() for number in range(50)]
        assert time.monotonic() - began >= 2 * SLOW_SECONDS

        proxy.set_mode("pass")
        # The machine may be busy, so the fastest of several echoes counts.
        assert min([await seconds_of_echo(reader, writer) for _ in range(20)]) < 2 * SLOW_SECONDS
        writer.close()
        await writer.wait_closed()


async def seconds_of_echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> float:
    began = time.monotonic()
    writer.write(b"again\n")
    assert await reader.readline() == b"again\n"
    return time.monotonic() - began
