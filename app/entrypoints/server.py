"""Runs the HTTP application with uvicorn until a signal. Then it is not ready, drains, and stops."""

import asyncio
import contextlib
import math
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager

import uvicorn
from fastapi import FastAPI

from app import private_names
from app.adapters.postgresql import schema
from app.bootstrap import Service
from app.entrypoints.components import Component, database_watch, running
from app.entrypoints.http.app import create_app
from app.entrypoints.http.hosts import KnownHosts
from app.entrypoints.http.identity import Gate
from app.entrypoints.http.limits import Limits
from app.entrypoints.http.problems import configure_types
from app.entrypoints.http.protocol import protocol_with
from app.entrypoints.http.rate_limit import RateLimit
from app.entrypoints.http.services import HttpServices
from app.entrypoints.http.streams import Streams
from app.entrypoints.signals import wait_for_signal
from app.observability import metrics
from app.operations import readiness


class _Server(uvicorn.Server):
    """uvicorn without its own handling of signals, and with a callback when it listens."""

    def __init__(self, config: uvicorn.Config, on_started: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_started = on_started

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to `wait_for_signal`."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and call `on_started`."""
        await super().startup(sockets)
        if self.started:
            self._on_started()


def http_application(service: Service, components: Sequence[Component] = ()) -> FastAPI:
    """The HTTP application of the service. The bus and the components run while it runs."""

    @asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        async with service.bus, running(components):
            yield

    settings = service.settings
    configure_types(settings.problem_type_base)
    rate_limit = RateLimit(settings.http_rate_limit, settings.http_rate_window) if settings.http_rate_limit else None
    services = HttpServices(
        bus=service.bus,
        queries=service.queries,
        feed=service.feed,
        streams=Streams(settings.http_max_streams, service.feed.wake),
        gate=Gate(service.authenticator, rate_limit, KnownHosts(settings.http_allowed_hosts)),
        check_database=lambda: readiness.check(service),
        validation_context=service.validation_context,
        deadline=settings.http_deadline,
        max_body_bytes=settings.http_max_body_bytes,
        max_bulk_body_bytes=settings.http_max_bulk_body_bytes,
        cart_currency=settings.cart_currency,
        zone=settings.zone,
    )
    return create_app(lifespan, services)


def configuration(service: Service, app: FastAPI) -> uvicorn.Config:
    """The configuration of uvicorn, with the service's own protocol and limits."""
    limits = Limits(
        header_bytes=service.settings.http_max_header_bytes,
        connections=service.settings.http_max_connections,
        read_timeout=service.settings.http_read_timeout,
        bodies_bytes=service.settings.http_max_bodies_bytes,
    )
    streams: Streams = app.state.services.streams
    protocol = protocol_with(limits, lambda: streams.open)
    metrics.watch_bodies(lambda: protocol.bodies.held, limits.bodies_bytes)
    return uvicorn.Config(
        app,
        http=protocol,
        ws="none",
        log_config=None,
        access_log=service.settings.log_access,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=math.ceil(service.settings.shutdown_grace),
        timeout_keep_alive=30,
        limit_concurrency=service.settings.http_max_concurrent,
    )


async def serve(
    service: Service,
    listener: socket.socket,
    components: Sequence[Component] = (),
    *,
    on_started: Callable[[], None] = lambda: None,
    parent_pipe: int | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT, or until the parent process closes `parent_pipe`.

    Raises PrivateNameMissingError, and schema.MigrationsMissingError, because without the migrations the service would
    never be ready.
    """
    private_names.check("uvicorn")
    schema.head()
    app = http_application(service, [*components, database_watch(service), service.feed.run])
    server = _Server(configuration(service, app), on_started)
    stopping = asyncio.create_task(_stop_on_signal(service, app, server, parent_pipe))
    try:
        await server.serve(sockets=[listener])
    finally:
        stopping.cancel()


async def _stop_on_signal(service: Service, app: FastAPI, server: uvicorn.Server, parent_pipe: int | None) -> None:
    await wait_for_signal(parent_pipe)
    services: HttpServices = app.state.services
    services.is_stopping = True
    services.streams.end()
    await asyncio.sleep(service.settings.shutdown_delay)
    server.should_exit = True
