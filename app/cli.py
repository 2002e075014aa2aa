"""The command line. A mistake gives one clear line and exit status 2."""

from __future__ import annotations

import asyncio
import gc
import json
import signal
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

# Each command imports what it needs: all of it takes seconds, and `--help` should not.
if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from app.bootstrap import Service
    from app.entrypoints.components import Component
    from app.settings import Settings

UNDEFINED_TABLE = "42P01"

_HOST = click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
_PORT = click.option(
    "--port", default=8000, show_default=True, type=click.IntRange(0, 65535), help="The port to listen on; 0: any."
)
_METRICS_PORT = click.option(
    "--metrics-port", type=click.IntRange(1, 65535), help="Serve Prometheus metrics here; default: nowhere."
)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="allocation")
def cli() -> None:
    """Allocates order lines to batches of stock.

    Settings are environment variables with the prefix ALLOCATION_; .env.example names them all.
    """


@cli.command()
@_HOST
@_PORT
@click.option(
    "--home",
    default=Path(".allocation"),
    show_default=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="Where the database lives on.",
)
@click.option("--database-port", default=0, type=click.IntRange(0, 65535), help="For PostgreSQL; default: any.")
@click.option("--kafka-port", default=0, type=click.IntRange(0, 65535), help="For the broker; default: any.")
def dev(host: str, port: int, home: Path, database_port: int, kafka_port: int) -> None:
    """Run everything, with a PostgreSQL and a broker of its own."""
    from app.embedded.stack import EmbeddedStack

    stack = EmbeddedStack(home, database_port=database_port, kafka_port=kafka_port)
    stack.claim()
    # Before and after the service handles its signals, a signal still has to stop what was started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    settings = _settings()

    from app.adapters import kafka, schema
    from app.entrypoints.server import listen, serve, url_of

    with listen(host, port) as listener, stack:
        settings = settings.model_copy(
            update={
                "database_url": stack.postgresql.database_url,
                "kafka_bootstrap_servers": stack.broker.bootstrap_servers,
                "kafka_idempotent_producer": False,
            }
        )
        schema.migrate(settings.database_url)
        url = url_of(listener)

        def announce() -> None:
            stack.announce(url)
            click.echo(f"The allocation service runs at {url} (documentation: {url}/docs). Ctrl-C stops it.")

        async def run(service: Service) -> None:
            await kafka.create_topics(service.kafka, [*settings.kafka_inbound_topics, settings.kafka_events_topic])
            await serve(service, listener, _all_components(service), on_started=announce)

        _run(settings, run)


@cli.command()
@_HOST
@_PORT
def run(host: str, port: int) -> None:
    """Run everything in one process, against the servers of the settings."""
    from app.entrypoints.server import listen, serve

    settings = _settings()
    with listen(host, port) as listener:
        _run(settings, lambda service: serve(service, listener, _all_components(service)))


@cli.command(name="serve")
@_HOST
@_PORT
@click.option("--workers", default=1, show_default=True, type=click.IntRange(1, 64), help="Processes behind the port.")
@click.option("--inherited", hidden=True, help="Of a worker: its socket, and the pipe to its parent.")
def serve_command(host: str, port: int, workers: int, inherited: str | None) -> None:
    """Run the HTTP API."""
    from app.entrypoints.server import listen, serve
    from app.entrypoints.workers import supervise

    settings = _settings()
    if inherited is not None:
        descriptor, parent_pipe = map(int, inherited.split(","))
        with socket.socket(fileno=descriptor) as listener:
            _run(settings, lambda service: serve(service, listener, parent_pipe=parent_pipe))
        return
    with listen(host, port) as listener:
        if workers == 1:
            _run(settings, lambda service: serve(service, listener))
        else:
            _run(settings, lambda _: supervise(listener, workers, grace=settings.shutdown_grace + 5))


@cli.command()
@_METRICS_PORT
def consume(metrics_port: int | None) -> None:
    """Run the consumer of inbound messages."""
    from app.entrypoints import components

    _run(
        _settings(),
        lambda service: _until_signal([components.consumer(service), components.housekeeping(service)], metrics_port),
    )


@cli.command()
@_METRICS_PORT
def relay(metrics_port: int | None) -> None:
    """Run the relay that publishes events."""
    from app.entrypoints import components

    _run(_settings(), lambda service: _until_signal([components.relay(service)], metrics_port))


@cli.command()
@_METRICS_PORT
def notify(metrics_port: int | None) -> None:
    """Run the notifier that sends mail."""
    from app.entrypoints import components

    _run(_settings(), lambda service: _until_signal([components.notifier(service)], metrics_port))


@cli.command()
def migrate() -> None:
    """Bring the database's schema to the version that this code needs."""
    from app.adapters import schema

    schema.migrate(_settings().database_url)
    click.echo(f"The schema is at revision {schema.head()}.")


@cli.command()
def health() -> None:
    """Exit with 0 where database, schema and broker are as they should be, else with 1 and the reason."""
    from app.adapters import kafka, schema

    async def check(service: Service) -> None:
        fault = await schema.check(service.engine)
        if fault is not None:
            raise click.ClickException(fault)
        await kafka.check_broker(service.kafka)

    _run(_settings(), check)
    click.echo("healthy")


@cli.group(name="dead-letters")
def dead_letters_group() -> None:
    """Messages that could not be handled."""


@dead_letters_group.command(name="list")
def list_dead_letters() -> None:
    """Show the letters, one line for each, oldest first."""
    from app.entrypoints import dead_letters

    async def show(service: Service) -> None:
        async for line in dead_letters.lines(service):
            click.echo(line)

    _run(_settings(), show)


@dead_letters_group.command(name="retry")
@click.argument("letter_ids", metavar="[ID]...", nargs=-1, type=click.IntRange(1, 2**63 - 1))
def retry_dead_letters(letter_ids: Sequence[int]) -> None:
    """Handle letters again: those with the IDs, or all."""
    from app.entrypoints import dead_letters

    async def retry(service: Service) -> None:
        failures = 0
        seen = set()
        async for report in dead_letters.retry(service, letter_ids):
            click.echo(report.line)
            failures += not report.restored
            seen.add(report.letter_id)
        missing = sorted(set(letter_ids) - seen)
        if missing:
            raise click.UsageError(f"no letter has the number {', '.join(map(str, missing))}")
        if failures:
            raise click.ClickException(f"{failures} of the letters could not be restored")

    _run(_settings(), retry)


@cli.command()
def openapi() -> None:
    """Print the OpenAPI document."""
    from app.entrypoints.server import http_application

    async def show(service: Service) -> None:
        click.echo(json.dumps(http_application(service).openapi(), indent=2))

    _run(_settings(), show)


@cli.command()
def asyncapi() -> None:
    """Print the AsyncAPI document."""
    from app.integration.asyncapi import asyncapi_document

    click.echo(json.dumps(asyncapi_document(), indent=2))


def main(arguments: Sequence[str] | None = None) -> None:
    """The entry point of the console script."""
    try:
        cli.main(arguments, prog_name="allocation", standalone_mode=False)
    except click.exceptions.Exit as error:
        sys.exit(error.exit_code)
    except click.UsageError as error:
        _fail(error.format_message(), 2)
    except click.ClickException as error:
        _fail(error.format_message(), 1)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except Exception as error:
        explanation = _explain(error)
        if explanation is None:
            raise
        _fail(*explanation)


def _explain(error: Exception) -> tuple[str, int] | None:
    """What to say about an error that is no fault of the program's, and the exit status."""
    from app.embedded.errors import EmbeddedStackError

    if isinstance(error, EmbeddedStackError):
        return str(error), 2

    from aiokafka.errors import KafkaError

    from app.entrypoints.server import AddressInUseError

    state = getattr(getattr(error, "orig", error), "sqlstate", None) or ""
    match error:
        case AddressInUseError() | PermissionError() | FileNotFoundError() | NotADirectoryError():
            explanation = str(error), 2
        case KafkaError():
            explanation = f"the broker does not answer: {error!r}; see ALLOCATION_KAFKA_BOOTSTRAP_SERVERS", 1
        case _ if state == UNDEFINED_TABLE:
            explanation = "the database has no schema yet; run: allocation migrate", 1
        case _ if state or isinstance(error, OSError | TimeoutError):
            explanation = f"the database does not answer: {_first_line(error)}; see ALLOCATION_DATABASE_URL", 1
        case _:
            return None
    return explanation


def _fail(message: str, status: int) -> None:
    click.echo(f"allocation: {message}", err=True)
    sys.exit(status)


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def _settings() -> Settings:
    from pydantic import ValidationError

    from app.observability import logging
    from app.settings import Settings

    try:
        settings = Settings()
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        name = f"ALLOCATION_{'_'.join(map(str, fault['loc'][:1])).upper()}"
        raise click.UsageError(f"{name}: {fault['msg']}") from None
    logging.configure(settings.log_format, settings.log_level)
    return settings


def _all_components(service: Service) -> list[Component]:
    from app.entrypoints import components

    return [
        components.relay(service),
        components.consumer(service),
        components.notifier(service),
        components.housekeeping(service),
    ]


async def _until_signal(parts: Sequence[Component], metrics_port: int | None) -> None:
    from app.entrypoints.components import running
    from app.entrypoints.server import wait_for_signal
    from app.observability import metrics

    if metrics_port is not None:
        metrics.serve(metrics_port)
    async with running(parts):
        await wait_for_signal()


def _run(settings: Settings, main_task: Callable[[Service], Coroutine[Any, Any, None]]) -> None:
    """Run a task with the service, on the fastest event loop there is."""
    from app.bootstrap import bootstrap

    async def with_service() -> None:
        async with bootstrap(settings) as service:
            # What is loaded by now stays for good. Left to the collector, it would be looked through again and again,
            # a tenth of a second each time.
            gc.collect()
            gc.freeze()
            await main_task(service)

    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(with_service())


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:  # There is none for Windows.
        return None
    return uvloop.new_event_loop
