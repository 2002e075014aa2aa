"""The commands that run the service, or a part of it, until a signal."""

from __future__ import annotations

import logging
import signal
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from app.cli.identity import require_identity
from app.cli.running import load_settings, run_with_service
from app.cli.setting_names import unknown_names

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence
    from typing import Any

    from app.bootstrap import Service
    from app.entrypoints.components import Component
    from app.settings import Settings

log = logging.getLogger(__name__)

LAST_PORT = 65_535

_HOST = click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
_PORT = click.option(
    "--port", default=8000, show_default=True, type=click.IntRange(0, 65535), help="The port to listen on; 0: any."
)
_METRICS_PORT = click.option(
    "--metrics-port",
    type=click.IntRange(1, 65535),
    help="The port for Prometheus metrics and /livez; default: none.",
)


_METRICS_PORTS = click.option(
    "--metrics-port",
    type=click.IntRange(1, 65535),
    help="The port for the metrics and /livez of the first process; the others have the ports after it. Default: none.",
)


@click.command()
@_HOST
@_PORT
@click.option(
    "--home",
    default=Path(".allocation"),
    show_default=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="The folder of the database.",
)
@click.option("--database-port", default=0, type=click.IntRange(0, 65535), help="The port of PostgreSQL; default: any.")
@click.option("--kafka-port", default=0, type=click.IntRange(0, 65535), help="The port of the broker; default: any.")
@click.option("--broker", metavar="HOST:PORT", help="Use this Kafka instead of the embedded broker.")
@click.option("--demo", is_flag=True, help="Fill the database with a shop, whose orders trickle in.")
def dev(
    host: str, port: int, home: Path, database_port: int, kafka_port: int, broker: str | None, *, demo: bool
) -> None:
    """Run everything, with an embedded PostgreSQL and broker."""
    # Before the imports, which take seconds.
    click.echo(f"Starting the allocation service, with its data in {home}")
    from app.embedded.stack import EmbeddedStack

    settings = _load_settings()
    if settings.auth is None:
        settings = settings.model_copy(update={"auth": "none"})
    require_identity(settings, host)
    stack = EmbeddedStack(
        home, database_port=database_port, kafka_port=kafka_port, bootstrap_servers=broker, on_step=click.echo
    )
    stack.claim()
    # Signals have to stop the servers also before and after the service handles signals.
    # A shell starts background processes with SIGINT ignored, so it is set explicitly.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda received, _: sys.exit(128 + received))

    from pydantic import SecretStr

    from app.adapters.kafka import clients
    from app.adapters.postgresql import schema
    from app.entrypoints.listening import listen, url_of
    from app.entrypoints.server import serve
    from app.observability import logging
    from app.operations.demo import DemoShop

    # Their messages about each start would hide the address.
    logging.quieten("alembic", "uvicorn", "app.adapters.kafka.clients")
    with listen(host, port) as listener, stack:
        settings = settings.model_copy(
            update={
                "database_url": SecretStr(stack.postgresql.database_url),
                "read_database_url": None,
                "kafka_bootstrap_servers": stack.bootstrap_servers,
                # The embedded broker does not support InitProducerId.
                "kafka_idempotent_producer": broker is not None,
                # The embedded servers use plain connections on the loopback, whatever the settings are.
                "database_tls": "off",
                "kafka_tls": "off",
                "kafka_sasl_mechanism": None,
            }
        )
        click.echo("Migrating the database")
        schema.migrate(stack.postgresql.database_url, cells=settings.cells)
        click.echo("Starting the service")
        url = url_of(listener)

        def announce() -> None:
            stack.announce(url)
            documents = f"Documentation of the API: {url}/docs, of the events: {url}/asyncapi."
            click.echo(f"{documents} The board: {url}/board. Ctrl-C stops everything.")
            click.echo(f"The allocation service runs at {url}")

        async def run(service: Service) -> None:
            await clients.create_topics(service.kafka, [*settings.kafka_inbound_topics, settings.kafka_events_topic])
            shop = [DemoShop(service.bus.handle, zone=settings.zone).run] if demo else []
            await serve(service, listener, [*_all_components(service), *shop], on_started=announce)

        run_with_service(settings, run)


@click.command()
@_HOST
@_PORT
@click.option(
    "--workers",
    type=click.IntRange(1, 64),
    help="The number of further processes, which serve HTTP; default: none, one process does everything.",
)
@_METRICS_PORTS
def run(host: str, port: int, workers: int | None, metrics_port: int | None) -> None:
    """Run everything, with the servers in the settings."""
    from app.entrypoints.listening import listen

    settings = _load_settings()
    require_identity(settings, host)
    if workers:
        _check_ports(metrics_port, 1 + workers)
        with listen(host, port) as listener:
            serving = _supervised(settings, listener, workers, None if metrics_port is None else metrics_port + 1)
            run_with_service(settings, lambda service: _run(service, _all_components(service), metrics_port, serving))
        return

    from app.entrypoints.server import serve

    with listen(host, port) as listener:
        _expose_metrics(metrics_port)
        run_with_service(settings, lambda service: serve(service, listener, _all_components(service)))


@click.command(name="serve")
@_HOST
@_PORT
@click.option("--workers", default=1, show_default=True, type=click.IntRange(1, 64), help="The number of processes.")
@_METRICS_PORTS
@click.option("--inherited", hidden=True, help="For a worker: its socket, and the pipe to its parent.")
def serve_command(host: str, port: int, workers: int, metrics_port: int | None, inherited: str | None) -> None:
    """Run the HTTP API."""
    from app.entrypoints.listening import listen

    settings = _load_settings() if inherited is None else load_settings()
    require_identity(settings, host)
    if workers > 1:
        _check_ports(metrics_port, workers)
        with listen(host, port) as listener:
            serving = _supervised(settings, listener, workers, metrics_port)
            run_with_service(settings, lambda _: serving())
        return

    from app.entrypoints.server import serve

    _expose_metrics(metrics_port)
    if inherited is not None:
        descriptor, parent_pipe = map(int, inherited.split(","))
        with socket.socket(fileno=descriptor) as listener:
            run_with_service(settings, lambda service: serve(service, listener, parent_pipe=parent_pipe))
        return
    with listen(host, port) as listener:
        run_with_service(settings, lambda service: serve(service, listener))


@click.command()
@_METRICS_PORT
def consume(metrics_port: int | None) -> None:
    """Run the consumer of inbound messages."""
    from app.entrypoints import components

    run_with_service(
        _load_settings(),
        lambda service: _until_signal(
            service,
            [components.consumer(service), components.housekeeping(service), components.hold_sweeper(service)],
            metrics_port,
        ),
    )


@click.command()
@_METRICS_PORT
def relay(metrics_port: int | None) -> None:
    """Run the relay that publishes events."""
    from app.entrypoints import components

    run_with_service(
        _load_settings(), lambda service: _until_signal(service, [components.relay(service)], metrics_port)
    )


@click.command()
@_METRICS_PORT
def notify(metrics_port: int | None) -> None:
    """Run the notifier that sends mail."""
    from app.entrypoints import components

    run_with_service(
        _load_settings(), lambda service: _until_signal(service, [components.notifier(service)], metrics_port)
    )


def _load_settings() -> Settings:
    """The settings of a long-running process. Logs a warning for each name that is not a setting."""
    settings = load_settings()
    for name, advice in unknown_names():
        log.warning("%s is not a setting and is not read; %s", name, advice)
    return settings


def _all_components(service: Service) -> list[Component]:
    from app.entrypoints import components

    return [
        components.relay(service),
        components.consumer(service),
        components.hold_sweeper(service),
        components.notifier(service),
        components.housekeeping(service),
    ]


async def _until_signal(service: Service, parts: Sequence[Component], metrics_port: int | None) -> None:
    from app.entrypoints.signals import wait_for_signal

    await _run(service, parts, metrics_port, wait_for_signal)


async def _run(
    service: Service,
    parts: Sequence[Component],
    metrics_port: int | None,
    main_task: Callable[[], Coroutine[Any, Any, None]],
) -> None:
    """Run the components while the task runs."""
    from app.entrypoints.components import database_watch, running

    _expose_metrics(metrics_port)
    async with running([*parts, database_watch(service)]):
        await main_task()


def _supervised(
    settings: Settings, listener: socket.socket, workers: int, metrics_port: int | None
) -> Callable[[], Coroutine[Any, Any, None]]:
    """A task that keeps worker processes running until a signal."""
    # Only the workers need the HTTP application, whose import takes half a second.
    from app.entrypoints.workers import supervise

    grace = settings.shutdown_delay + settings.shutdown_grace + 5
    return lambda: supervise(listener, workers, grace=grace, metrics_port=metrics_port)


def _expose_metrics(port: int | None) -> None:
    """Serve the metrics of this process. Raises AddressInUseError."""
    from app.entrypoints.listening import AddressInUseError
    from app.observability import metrics, vitals

    if port is not None:
        try:
            metrics.serve(port, vitals.HEARTBEAT.is_alive)
        except OSError as error:
            message = f"cannot listen on port {port}: {error.strerror or error}"
            raise AddressInUseError(message) from error


def _check_ports(first: int | None, number: int) -> None:
    """Raise AddressInUseError, before any process starts, if one of the ports of their metrics is not free."""
    from app.entrypoints.listening import listen

    if first is None:
        return
    if first + number - 1 > LAST_PORT:
        raise click.UsageError(
            f"--metrics-port: {number} processes need {number} ports, and the last port is {LAST_PORT}"
        )
    for port in range(first, first + number):
        listen("0.0.0.0", port).close()  # noqa: S104 - where metrics are served
