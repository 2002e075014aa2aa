"""The servers of a run: PostgreSQL and a broker, each with an optional proxy.

They run for all faults; each fault has its own database, topics and processes of the service.
"""

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, Self

import asyncpg
from sqlalchemy.engine import URL, make_url

from app.embedded.broker import EmbeddedBroker
from app.embedded.postgresql import EmbeddedPostgresql
from app.embedded.process import LOOPBACK, free_port, poll_until
from faults.cluster import Cluster
from faults.pair import CONNECTIONS, Pair
from faults.proxy import Proxy
from tests.support.apache_kafka import ApacheKafka

BrokerKind = Literal["apache", "embedded"]
STOP_SECONDS = 20.0

# A second listener advertises the address of the proxy. The session timeout of groups may be shorter than Kafka's
# default minimum, so that rounds are shorter.
THROUGH_PROXY = """\
listeners=PLAINTEXT://{{host}}:{{port}},PROXIED://{{host}}:{inner},CONTROLLER://{{host}}:{controller}
advertised.listeners=PLAINTEXT://{{host}}:{{port}},PROXIED://{{host}}:{proxy}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,PROXIED:PLAINTEXT,CONTROLLER:PLAINTEXT
controller.quorum.voters=1@{{host}}:{controller}
group.min.session.timeout.ms=1000
"""


class Servers:
    """PostgreSQL and the broker. Start them from the main thread: they end with the thread that starts them."""

    def __init__(self, home: Path, broker: BrokerKind) -> None:
        """Store the configuration; data and logs are in `home`. Ports are chosen now and kept over restarts."""
        self.kind = broker
        self.postgresql = EmbeddedPostgresql(home / "postgresql", port=free_port(), connections=CONNECTIONS)
        # With a pair, `postgresql` is its primary.
        self.pair: Pair | None = None
        self.database_proxy = Proxy(free_port(), self.postgresql.port)
        broker_port, inner = free_port(), free_port()
        self.broker: ApacheKafka | EmbeddedBroker
        # Used in place of `broker`.
        self.cluster: Cluster | None = None
        if broker == "apache":
            self.broker_proxy = Proxy(free_port(), inner)
            configuration = THROUGH_PROXY.format(inner=inner, controller=free_port(), proxy=self.broker_proxy.port)
            self.broker = ApacheKafka(data_dir=home / "kafka", port=broker_port, configuration=configuration)
        else:
            # It advertises one address only, so clients would bypass a proxy.
            self.broker_proxy = Proxy(free_port(), broker_port)
            self.broker = EmbeddedBroker(port=broker_port, log_file=home / "broker.log")

    def crash_postgresql(self) -> None:
        """Stop PostgreSQL in immediate mode: connections break, and the next start recovers from the WAL."""
        pid = self.postgresql.pid
        assert pid is not None, "PostgreSQL runs"
        os.kill(pid, signal.SIGQUIT)
        assert poll_until(lambda: self.postgresql.pid is None, seconds=STOP_SECONDS), "PostgreSQL did not stop"

    def kill_broker(self) -> None:
        """Kill the broker; `broker.start()` restarts it on its port. The embedded one loses its data."""
        pid = self.broker.pid
        assert pid is not None, "the broker runs"
        os.kill(pid, signal.SIGKILL)
        assert poll_until(lambda: self.broker.pid is None, seconds=STOP_SECONDS), "the broker did not die"

    @property
    def replication(self) -> int:
        """The number of replicas of each topic."""
        return 1 if self.cluster is None else len(self.cluster.nodes)

    def bootstrap_servers(self, *, proxied: bool = False) -> str:
        """The address of the broker, directly or through the proxy, or the addresses of the cluster."""
        if self.cluster is not None:
            return self.cluster.bootstrap_servers
        return f"{LOOPBACK}:{self.broker_proxy.port}" if proxied else self.broker.bootstrap_servers

    @contextmanager
    def other_postgresql(self, other: EmbeddedPostgresql) -> Iterator[None]:
        """Run another PostgreSQL in place of the usual one, with a proxy of its own."""
        usual, usual_proxy = self.postgresql, self.database_proxy
        with other, Proxy(free_port(), other.port) as proxy:
            self.postgresql, self.database_proxy = other, proxy
            try:
                yield
            finally:
                self.postgresql, self.database_proxy = usual, usual_proxy

    def create_database(self, name: str, migrate: Callable[[str], object]) -> None:
        """Create a database; `migrate` gets its URL and makes the schema of the service."""
        asyncio.run(self._execute(f'CREATE DATABASE "{name}"'))
        migrate(self.database_url(name).render_as_string(hide_password=False))

    def database_url(self, name: str, *, proxied: bool = False) -> URL:
        """The URL of a database for SQLAlchemy, directly or through the proxy."""
        url = make_url(self.postgresql.database_url).set(database=name)
        return url.set(port=self.database_proxy.port) if proxied else url

    def service_url(self, name: str, *, proxied: bool = False) -> str:
        """The URL of a database for the service, with both servers of a pair."""
        if self.pair is not None:
            return self.pair.url(name)
        return self.database_url(name, proxied=proxied).render_as_string(hide_password=False)

    def dsn(self, name: str) -> str:
        """The URL of a database on the primary, for asyncpg."""
        return f"{self.service_url(name).replace('+asyncpg', '', 1)}?target_session_attrs=primary"

    def administer(self, statement: str) -> None:
        """Run a statement as the superuser."""
        asyncio.run(self._execute(statement, self.postgresql.admin_url))

    def heal(self) -> None:
        """Start stopped servers and reset the proxies, so that a failed round does not affect the next one."""
        self.start(lambda _: None)
        self.database_proxy.set_mode("pass")
        self.broker_proxy.set_mode("pass")

    def start(self, say: Callable[[str], None]) -> None:
        """Start stopped servers."""
        say("starting PostgreSQL")
        self.postgresql.start()
        say(f"starting the {self.kind} broker")
        self.broker.start()
        self.database_proxy.start()
        self.broker_proxy.start()

    def stop(self) -> None:
        """Stop all of them."""
        self.broker_proxy.stop()
        self.database_proxy.stop()
        self.broker.stop()
        self.postgresql.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    async def _execute(self, statement: str, database_url: str = "") -> None:
        url = make_url(database_url or self.postgresql.database_url).set(drivername="postgresql")
        connection = await asyncpg.connect(url.render_as_string(hide_password=False))
        try:
            await connection.execute(statement)
        finally:
            await connection.close()
