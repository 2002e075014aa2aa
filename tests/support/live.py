"""The HTTP application, served as in production on a thread of its own, for clients that need no event loop."""

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn

from app.bootstrap import bootstrap
from app.entrypoints.components import hold_sweeper, relay
from app.entrypoints.listening import listen, url_of
from app.entrypoints.server import configuration, http_application
from app.service_layer.feed import EventFeed
from app.settings import Settings

START_SECONDS = 60.0
STOP_SECONDS = 60.0


@contextmanager
def live_application(
    settings: Settings, feed: EventFeed | None = None, *, port: int = 0, has_broker: bool = False
) -> Iterator[str]:
    """Serve over the database of the settings, and end its holds, as `allocation run` does. Yields the URL.

    With a broker it also publishes the events and follows their topic.
    """
    started = threading.Event()
    listener = listen("127.0.0.1", port)
    stops: list[Callable[[], object]] = []

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            started.set()

    async def serve() -> None:
        async with bootstrap(settings, feed=feed) as service:
            publishing = [relay(service), service.feed.run] if has_broker else []
            application = http_application(service, [hold_sweeper(service), *publishing])
            server = Server(configuration(service, application))
            loop = asyncio.get_running_loop()

            def stop() -> None:
                application.state.services.streams.end()
                server.should_exit = True

            stops.append(lambda: loop.call_soon_threadsafe(stop))
            await server.serve(sockets=[listener])

    # uvicorn leaves the signals alone where it does not run on the main thread.
    thread = threading.Thread(target=lambda: asyncio.run(serve()), name="live-application")
    thread.start()
    try:
        assert started.wait(START_SECONDS), "the application did not start"
        yield url_of(listener)
    finally:
        for stop in stops:
            stop()
        thread.join(STOP_SECONDS)
        assert not thread.is_alive(), "the application did not stop"
