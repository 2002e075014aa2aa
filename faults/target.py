"""The load, the oracle and the judge on an installation of the user, who injects the faults.

All addresses must be of this machine. They are checked before anything is sent, and the broker's own before the load.
"""

import asyncio
import ipaddress
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import click
from confluent_kafka import Consumer, KafkaException, TopicPartition

from app.adapters.postgresql.database_url import TARGET, DatabaseUrl
from faults.client import Connection, NoAnswerError
from faults.database import Database
from faults.plan import Plan, Verdict
from faults.topics import admin_of
from faults.trial import RECOVERY_LIMIT, Installation, Trial

NAME = "target"
SECONDS = 10.0
OK, MISSING = 200, 404
EMPTY = ("products", "orders", "events", "inbox", "dead_letters", "outbox")


class UnsuitableTargetError(click.UsageError):
    """The installation must not get the load; the message says why."""


def installation(urls: str, settings: Mapping[str, str], cells: int = 1) -> Installation:
    """The installation at these HTTP URLs, and at the other addresses in the settings of the service.

    Sends nothing. Raises UnsuitableTargetError unless all addresses are of this machine.
    """
    ports = [_http_port(url.strip()) for url in urls.split(",")]
    database_url = settings.get("ALLOCATION_DATABASE_URL", "")
    try:
        servers = DatabaseUrl.parse(database_url).servers
    except ValueError as error:
        raise UnsuitableTargetError(f"ALLOCATION_DATABASE_URL {error}") from None
    for server in servers:
        _require_loopback(server.host, "database")
    parameters = {name for name, _ in parse_qsl(urlsplit(database_url).query, keep_blank_values=True)}
    if parameters - {TARGET}:
        # asyncpg takes a host from there, among others.
        raise UnsuitableTargetError(f"ALLOCATION_DATABASE_URL may have no parameter but {TARGET}")
    bootstrap = settings.get("ALLOCATION_KAFKA_BOOTSTRAP_SERVERS", "")
    for address in bootstrap.split(","):
        _require_loopback(address.strip().rpartition(":")[0].strip("[]"), "broker")
    dsn = database_url.replace("+asyncpg", "", 1)
    dsn += "" if parameters else f"?{TARGET}=primary"
    inbound = settings.get("ALLOCATION_KAFKA_INBOUND_TOPICS", "allocation.inbound.v1")
    events = settings.get("ALLOCATION_KAFKA_EVENTS_TOPIC", "allocation.events.v1")
    return Installation(lambda: ports, dsn, bootstrap, inbound, events, cells)


def check(where: Installation) -> None:
    """Raise UnsuitableTargetError unless it is ready, without authentication, and has no records of its own."""
    _check_broker(where)
    asyncio.run(_check_http(where.http_ports()))
    database = Database(where.dsn, where.cells)
    try:
        full = [table for table in EMPTY if (True,) in database.ask_each(f"SELECT EXISTS (SELECT FROM {table})")]
    except Exception as error:
        raise UnsuitableTargetError(f"the database cannot be read: {error}") from error
    if full:
        raise UnsuitableTargetError(
            f"{', '.join(full)} have rows: the oracle compares all records, so use a database without any"
        )


def attend(where: Installation, plan: Plan, home: Path) -> Verdict:
    """Run the load for the time in which the user injects faults, and judge. Raises UnsuitableTargetError."""
    check(where)
    home.mkdir(parents=True)

    def wait() -> None:
        ends = time.time() + 60 * plan.minutes
        clock = time.strftime("%H:%M:%S", time.localtime(ends))
        trial.say(f"the load runs for {plan.minutes:g} minutes: inject faults now, and repair them before {clock}")
        # A load that has ended on its own is an error, and `wait_for` raises it.
        trial.wait_for(lambda: time.time() >= ends, 60 * plan.minutes + SECONDS, "the time is over")
        trial.say("the time is over: everything has to work again")
        trial.recovered(time.time(), RECOVERY_LIMIT)

    # The time ends the load, not a number of commands.
    with Trial(NAME, replace(plan, commands=0), where, home) as trial:
        messages = trial.perform(wait)
        story = trial.read(messages)
    trial.judge(story)
    return trial.verdict(story)


def _http_port(url: str) -> int:
    """The port of a URL like http://127.0.0.1:8000; the load connects to 127.0.0.1 only."""
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        port = None
    if parts.scheme != "http" or not port or parts.path.strip("/") or parts.query:
        raise UnsuitableTargetError(f"{url} is not of the form http://127.0.0.1:PORT")
    if parts.hostname not in {"127.0.0.1", "localhost"}:
        raise UnsuitableTargetError(
            f"the HTTP API at {parts.hostname} is not on 127.0.0.1, and only that gets the load"
        )
    return port


def _require_loopback(host: str, what: str) -> None:
    try:
        is_here = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_here = False
    if not is_here:
        raise UnsuitableTargetError(f"the {what} at {host or 'no host'} is not on a loopback address of this machine")


def _check_broker(where: Installation) -> None:
    """The broker gives addresses of its own to its clients, and these connect to them."""
    try:
        metadata = admin_of(where.bootstrap).list_topics(timeout=SECONDS)
    except KafkaException as error:
        raise UnsuitableTargetError(f"the broker does not answer: {error}") from error
    for broker in metadata.brokers.values():
        _require_loopback(str(broker.host), "broker that is advertised")
    consumer = Consumer({"bootstrap.servers": where.bootstrap, "group.id": "faults-target", "log_level": 0})
    try:
        for name in (where.inbound_topic, where.events_topic):
            if name not in metadata.topics:
                raise UnsuitableTargetError(f"there is no topic {name}")
            for partition in metadata.topics[name].partitions:
                low, high = consumer.get_watermark_offsets(TopicPartition(name, partition), timeout=SECONDS)
                if low != high:
                    raise UnsuitableTargetError(f"{name} has records: the oracle reads all, so use a new topic")
    finally:
        consumer.close()


async def _check_http(ports: Sequence[int]) -> None:
    for port in ports:
        async with Connection(port) as connection:
            for path, expected in (("/readyz", OK), ("/v1/products/SKU-NONE", MISSING)):
                try:
                    status, _ = await connection.request("GET", path)
                except NoAnswerError as error:
                    raise UnsuitableTargetError(f"port {port} does not answer: {error}") from error
                if status != expected:
                    raise UnsuitableTargetError(
                        f"{path} at port {port} is {status}: the service must be ready, with ALLOCATION_AUTH=none"
                    )
