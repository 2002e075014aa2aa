"""The HTTP application under uvicorn on a thread of its own, for clients that need a socket and no event loop."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from app.bootstrap import bootstrap
from app.entrypoints.server import http_application
from app.settings import Settings

START_SECONDS = 10.0
STOP_SECONDS = 20.0


@contextmanager
def live_application(settings: Settings) -> Iterator[str]:
    """Serve over the database of the settings. Yields the URL."""
    started = threading.Event()
    servers: list[uvicorn.Server] = []

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[object] | None = None) -> None:  # type: ignore[override]
            await super().startup()
            started.set()

    async def serve() -> None:
        async with bootstrap(settings) as service:
            server = Server(uvicorn.Config(http_application(service), port=0, log_config=None, access_log=False))
            servers.append(server)
            await server.serve()

    # uvicorn leaves the signals alone where it does not run on the main thread.
    thread = threading.Thread(target=lambda: asyncio.run(serve()), name="live-application")
    thread.start()
    try:
        assert started.wait(START_SECONDS), "the application did not start"
        port = servers[0].servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        for server in servers:
            server.should_exit = True
        thread.join(STOP_SECONDS)
        assert not thread.is_alive(), "the application did not stop"
