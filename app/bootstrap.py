"""Builds the objects of the service from the settings. Arguments replace single objects."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy.ext.asyncio import AsyncEngine

from app import private_names
from app.adapters.identity.api_keys import ApiKeys
from app.adapters.kafka.clients import KafkaConfig, Sasl
from app.adapters.kafka.feed import KafkaFeed
from app.adapters.postgresql.calendar import Calendar, Clock
from app.adapters.postgresql.cells import Cells
from app.adapters.postgresql.connections import DriverConnections, connections_of, create_engine
from app.adapters.postgresql.database_url import DatabaseUrl
from app.adapters.postgresql.entry_nodes import EntryNodes
from app.adapters.postgresql.outbox_signal import OutboxSignal
from app.adapters.postgresql.unit_of_work import SqlUnitOfWork
from app.adapters.smtp import LogMailer, SmtpMailer
from app.adapters.tls import client_context
from app.domain.fields import HOLD_MAX
from app.observability import metrics, tracing, vitals
from app.read_model.queries import Queries
from app.service_layer.callers import Authenticator, DenyAll
from app.service_layer.cells import CellMap
from app.service_layer.feed import EventFeed
from app.service_layer.handlers import COMMAND_HANDLERS
from app.service_layer.messagebus import MessageBus
from app.service_layer.notifications import Addresses, Mailer
from app.service_layer.ports import UnitOfWorkFactory
from app.service_layer.requests import RetryPolicy
from app.settings import Settings


@dataclass(frozen=True, slots=True)
class Service:
    """The objects that the entrypoints use."""

    settings: Settings
    engine: AsyncEngine
    read_engine: AsyncEngine
    cells: Cells
    signal: OutboxSignal
    bus: MessageBus
    queries: Queries
    kafka: KafkaConfig
    feed: EventFeed
    mailer: Mailer
    addresses: Addresses
    authenticator: Authenticator | None

    @property
    def validation_context(self) -> dict[str, Any]:
        """The limits of this service for the validation of requests and messages."""
        return {HOLD_MAX: self.settings.hold_max}

    @property
    def engines(self) -> tuple[AsyncEngine, ...]:
        """One engine for each database that the service needs."""
        return (self.engine,) if self.settings.read_database_url is None else (self.engine, self.read_engine)


@asynccontextmanager
async def bootstrap(  # noqa: PLR0913 - one argument for each thing that can be replaced
    settings: Settings,
    *,
    engine: AsyncEngine | None = None,
    read_engine: AsyncEngine | None = None,
    signal: OutboxSignal | None = None,
    unit_of_work: UnitOfWorkFactory | None = None,
    retry: RetryPolicy | None = None,
    bus: MessageBus | None = None,
    queries: Queries | None = None,
    feed: EventFeed | None = None,
    mailer: Mailer | None = None,
    authenticator: Authenticator | None = None,
    clock: Clock = lambda now: now,
) -> AsyncIterator[Service]:
    """The service with all its objects. Connections are opened when they are needed, and closed at the end.

    Raises PrivateNameMissingError, TlsFilesError.
    """
    private_names.check("asyncio")
    private_names.check("aiokafka")
    url = settings.database_url.get_secret_value()
    connect = partial(
        create_engine,
        pool_size=settings.database_pool_size,
        tls=database_tls(settings),
        time_zone=settings.time_zone,
        cells=settings.cells,
    )
    connect_to_write = partial(connect, generic_plans=settings.cells == 1)
    engine = engine or connect_to_write(url)
    calendar = Calendar(settings.zone, clock)
    # A separate pool, so that reads cannot use up the connections for writes.
    read_engine = read_engine or _read_engine(settings, connect)
    cells = Cells(engine, CellMap(settings.cells))
    signal = signal or OutboxSignal(engine)
    shared_signal = signal
    # One connection remains for other users of the pool.
    keep = min(settings.bus_workers, settings.database_pool_size - 1)
    connections = DriverConnections(engine, keep=keep)
    entries = EntryNodes(
        cells, connections, lambda server: connect_to_write(DatabaseUrl.parse(url).at(server)), keep=keep
    )
    unit_of_work = unit_of_work or (lambda cell: SqlUnitOfWork(entries.of(cell), shared_signal, calendar, cells.map))
    kafka = _kafka_config(settings)
    service = Service(
        settings=settings,
        engine=engine,
        read_engine=read_engine,
        cells=cells,
        signal=signal,
        bus=bus
        or MessageBus(
            unit_of_work,
            COMMAND_HANDLERS,
            workers=settings.bus_workers,
            # Each lane uses a connection; some remain for the relay and the notifier.
            lanes=max(1, min(4, settings.database_pool_size - settings.bus_workers - 2)),
            queue_limit=settings.bus_queue_limit,
            group_limit=settings.bus_group_limit,
            retry=retry,
            drain_timeout=settings.shutdown_grace,
            cells=cells.map,
        ),
        queries=queries or Queries(Cells(read_engine, cells.map), cells, calendar),
        kafka=kafka,
        feed=feed or KafkaFeed(kafka, settings.kafka_events_topic),
        mailer=mailer or _mailer(settings),
        addresses=Addresses(stock=settings.stock_email, warehouse=settings.warehouse_email),
        authenticator=authenticator or _authenticator(settings),
    )
    in_use = {"write": entries.in_use, "read": connections_of(read_engine)}
    for pool in in_use:
        metrics.pool_limit.labels(pool).set(settings.database_pool_size)
    with tracing.exporting(settings.otlp_endpoint, settings.trace_ratio):
        try:
            async with vitals.monitored(in_use), entries.refreshed() if settings.enter_at_nodes else nullcontext():
                yield service
        finally:
            await signal.close()
            await connections.close()
            await engine.dispose()
            await read_engine.dispose()


def _read_engine(settings: Settings, connect: partial[AsyncEngine]) -> AsyncEngine:
    """The pool for reading. With `read_database_url` any of its servers is used.

    Without it reads have to be current, so they use the primary, even if it does not accept writes.
    """
    if settings.read_database_url is not None:
        return connect(settings.read_database_url.get_secret_value(), target="any")
    return connect(settings.database_url.get_secret_value(), target="primary")


def _authenticator(settings: Settings) -> Authenticator | None:
    """The authenticator of the settings; None for ALLOCATION_AUTH=none."""
    match settings:
        case Settings(auth="jwt", jwt_jwks_url=str(url), jwt_issuer=str(issuer), jwt_audience=str(audience)):
            # PyJWT and cryptography take a tenth of the processor time of a start, and other settings do not need them.
            from app.adapters.identity.json_web_tokens import JwtAuthenticator  # noqa: PLC0415
            from app.adapters.identity.jwks_client import JwksClient  # noqa: PLC0415

            algorithms = settings.jwt_algorithms
            keys = JwksClient(url, algorithms)
            return JwtAuthenticator(
                keys, issuer=issuer, audience=audience, algorithms=algorithms, leeway=settings.jwt_leeway
            )
        case Settings(auth="api-keys", api_keys_file=Path() as file):
            return ApiKeys(file)
        case Settings(auth="none"):
            return None
        case _:
            return DenyAll()


def _default_session_timeout(settings: Settings) -> float:
    """The minimum of Apache Kafka is 6 s. The embedded broker needs less, and waits twice the given time."""
    return 6.0 if settings.kafka_idempotent_producer else 2.0


def database_tls(settings: Settings) -> ssl.SSLContext | None:
    """The TLS context for the databases; None for plain connections. Raises TlsFilesError."""
    urls = [url.get_secret_value() for url in (settings.database_url, settings.read_database_url) if url is not None]
    hosts = [server.host for url in urls for server in DatabaseUrl.parse(url).servers]
    return client_context(hosts, settings.database_tls, ca_file=settings.database_tls_ca_file)


def _kafka_config(settings: Settings) -> KafkaConfig:
    sasl = None
    if settings.kafka_sasl_mechanism and settings.kafka_sasl_username and settings.kafka_sasl_password:
        password = settings.kafka_sasl_password.get_secret_value()
        sasl = Sasl(settings.kafka_sasl_mechanism, settings.kafka_sasl_username, password)
    return KafkaConfig(
        bootstrap_servers=settings.kafka_bootstrap_servers,
        tls=client_context(
            [server.strip().rpartition(":")[0] for server in settings.kafka_bootstrap_servers.split(",")],
            settings.kafka_tls,
            ca_file=settings.kafka_tls_ca_file,
            cert_file=settings.kafka_tls_cert_file,
            key_file=settings.kafka_tls_key_file,
        ),
        sasl=sasl,
        idempotent_producer=settings.kafka_idempotent_producer,
        session_timeout=settings.kafka_session_timeout or _default_session_timeout(settings),
        topic_partitions=settings.kafka_topic_partitions,
        topic_replication=settings.kafka_topic_replication,
    )


def _mailer(settings: Settings) -> Mailer:
    if settings.smtp_url is None:
        return LogMailer()
    url = settings.smtp_url.get_secret_value()
    parts = urlsplit(url)
    choice = "verify" if parts.scheme == "smtps" else settings.smtp_tls
    tls = client_context([parts.hostname or ""], choice, ca_file=settings.smtp_tls_ca_file)
    return SmtpMailer(url, settings.from_email, tls=tls)
