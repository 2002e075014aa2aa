"""Checks everything that the service depends on, and gives advice about faults.

Every check has a time limit, and every fault is a finding.
"""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress

from pydantic import SecretStr

from app.adapters.identity.api_keys import ApiKeyFileError, read_keys
from app.adapters.kafka import clients
from app.adapters.postgresql import schema
from app.adapters.postgresql.database_url import DatabaseUrl
from app.adapters.postgresql.inspection import check_writable, first_events, keeps_up, server_of
from app.adapters.postgresql.unavailable import DatabaseUnavailableError, Reason
from app.adapters.smtp import SmtpMailer
from app.bootstrap import Service
from app.operations.doctor_of_cells import check_cells, check_partitions
from app.operations.error_text import first_line
from app.operations.findings import Finding, Verdict
from app.service_layer.callers import Authenticator, InvalidCredentialsError
from app.service_layer.ports import TemporarilyUnavailableError

TIMEOUT = 20.0
"""Seconds for one check."""
LAG_WARNING = 5.0
"""Seconds of replication lag that are tolerated."""
SKEW_WARNING = 1.0
SKEW_FAULT = 30.0
AGE_FAULT = 60.0
"""Seconds for which an event may be unpublished."""
RECORD_BYTES = 2048
"""Bytes of a record beyond the data of its event, at most: headers, key and the batch."""
SUBJECTS_SHOWN = 5
PROCESSES = 4
"""serve, consume, relay and notify: each has a pool of connections."""


__all__ = ["Finding", "Verdict", "examine"]

Check = Callable[[Service], Awaitable[list[Finding]]]


async def examine(service: Service) -> AsyncIterator[Finding]:
    """All findings, in a fixed order. Checks run concurrently, so their time limits do not add up."""
    tasks = [asyncio.create_task(_with_time_limit(name, check, service)) for name, check in _CHECKS]
    try:
        for task in tasks:
            for finding in await task:
                yield finding
    finally:
        for task in tasks:
            task.cancel()


async def _with_time_limit(name: str, check: Check, service: Service) -> list[Finding]:
    try:
        async with asyncio.timeout(TIMEOUT):
            return await check(service)
    except TimeoutError:
        advice = "packets are dropped on the way: check firewalls and security groups"
        return [Finding(name, Verdict.FAULT, "no answer in time", advice)]
    except Exception as error:  # noqa: BLE001 - an unexpected error is a finding as well
        return [Finding(name, Verdict.FAULT, first_line(error), "check its log")]


# --- callers ---------------------------------------------------------------------------------------------------------


async def _callers(service: Service) -> list[Finding]:
    settings = service.settings
    if settings.auth is None:
        advice = (
            "set ALLOCATION_AUTH to jwt, api-keys or none, see docs/security.md; the other processes do not need it"
        )
        return [Finding("callers", Verdict.WARNING, "ALLOCATION_AUTH is not set: serve and run do not start", advice)]
    if settings.auth == "api-keys" and settings.api_keys_file is not None:
        try:
            keys = await asyncio.to_thread(read_keys, settings.api_keys_file)
        except ApiKeyFileError as error:
            advice = "correct it, or ALLOCATION_API_KEYS_FILE; `allocation api-keys new` writes entries"
            return [Finding("callers", Verdict.FAULT, first_line(error), advice)]
        return [Finding("callers", Verdict.OK, f"{len(keys)} API keys in {settings.api_keys_file}")]
    if settings.auth == "jwt" and service.authenticator is not None:
        return [await _provider(service, service.authenticator)]
    return [Finding("callers", Verdict.OK, f"authenticated by {settings.auth}")]


async def _provider(service: Service, authenticator: Authenticator) -> Finding:
    """Look up a key id that does not exist, which fetches the keys of the identity provider."""
    settings = service.settings
    header = json.dumps({"alg": settings.jwt_algorithms[0], "kid": "allocation-doctor"}).encode()
    try:
        await authenticator.check(f"{base64.urlsafe_b64encode(header).decode().rstrip('=')}.e30.AA")
    except TemporarilyUnavailableError:
        advice = "correct ALLOCATION_JWT_JWKS_URL, or check the provider; the log has the error"
        return Finding("callers", Verdict.FAULT, f"keys cannot be fetched from {settings.jwt_jwks_url}", advice)
    except InvalidCredentialsError:
        pass
    return Finding("callers", Verdict.OK, f"authenticated by tokens, with keys from {settings.jwt_jwks_url}")


# --- PostgreSQL ------------------------------------------------------------------------------------------------------


async def _database(service: Service) -> list[Finding]:
    engine, place = service.engine, _place(service.settings.database_url)
    try:
        await check_writable(engine)
        server = await server_of(engine)
    except Exception as error:  # noqa: BLE001 - _advice distinguishes them
        return [Finding("database", Verdict.FAULT, f"{place}: {first_line(error)}", _advice(error))]
    findings = [Finding("database", Verdict.OK, f"PostgreSQL {server.version} at {place}")]
    if not server.fsync:
        text = "fsync is off: a crash of the machine can lose committed transactions or the database"
        findings.append(Finding("database", Verdict.WARNING, text, "set fsync = on, except in tests"))
    needed = 2 * PROCESSES * service.settings.database_pool_size
    if server.connections < needed:
        text = f"{server.connections} connections in all; the {PROCESSES} processes may need {needed}"
        advice = "raise max_connections, or lower ALLOCATION_DATABASE_POOL_SIZE"
        findings.append(Finding("database", Verdict.WARNING, text, advice))
    return [*findings, _schema(await schema.check(engine, cells=service.settings.cells)), _clock(server.ahead)]


async def _replica(service: Service) -> list[Finding]:
    """The read replica, if there is one."""
    if service.settings.read_database_url is None:
        return []
    engine, place = service.read_engine, _place(service.settings.read_database_url)
    try:
        server = await server_of(engine)
        fault = await schema.check(engine, cells=service.settings.cells)
    except Exception as error:  # noqa: BLE001 - _advice distinguishes them
        advice = _advice(error).replace("ALLOCATION_DATABASE_URL", "ALLOCATION_READ_DATABASE_URL")
        return [Finding("replica", Verdict.FAULT, f"{place}: {first_line(error)}", advice)]
    if fault is not None:
        text, advice = fault.partition(";")[0], "check that it replicates from the primary"
        return [Finding("replica", Verdict.FAULT, f"{place}: {text}", advice)]
    # `_database` reports a primary that is unavailable or read-only.
    with suppress(Exception):
        if not await keeps_up(engine, service.engine, seconds=LAG_WARNING):
            text = f"{place} is more than {LAG_WARNING:.0f} s behind the primary"
            advice = "see pg_stat_replication at the primary; meanwhile GET requests return old data"
            return [Finding("replica", Verdict.WARNING, text, advice)]
    return [Finding("replica", Verdict.OK, f"PostgreSQL {server.version} at {place}")]


def _schema(fault: str | None) -> Finding:
    if fault is None:
        return Finding("schema", Verdict.OK, f"at revision {schema.head()} or newer")
    text, _, advice = fault.partition("; ")
    return Finding("schema", Verdict.FAULT, text, advice)


def _clock(ahead: float) -> Finding:
    off = abs(ahead)
    text = f"the clock of the database is {off:.1f} s {'ahead of' if ahead > 0 else 'behind'} ours"
    if off < SKEW_WARNING:
        return Finding("clock", Verdict.OK, text)
    verdict = Verdict.FAULT if off >= SKEW_FAULT else Verdict.WARNING
    return Finding("clock", verdict, text, "synchronize the clocks of both machines with NTP (chrony)")


def _place(url: SecretStr) -> str:
    return DatabaseUrl.parse(url.get_secret_value()).place


_ADVICE = {
    Reason.UNKNOWN_HOST: "the host is unknown: correct it in ALLOCATION_DATABASE_URL, or the name service",
    Reason.WRONG_SERVER: "name the primary, or all servers as host1:5432,host2:5432, in ALLOCATION_DATABASE_URL",
    Reason.CONNECTION_REFUSED: (
        "the port is closed: start PostgreSQL, or correct host and port in ALLOCATION_DATABASE_URL"
    ),
    Reason.NO_RESPONSE: "packets are dropped: check firewalls, and the host in ALLOCATION_DATABASE_URL",
    Reason.INVALID_CREDENTIALS: "correct user and password in ALLOCATION_DATABASE_URL, or pg_hba.conf",
    Reason.NO_DATABASE: "create the database, or correct its name in ALLOCATION_DATABASE_URL",
    Reason.OUT_OF_RESOURCES: "free what it lacks: connections, memory or disk",
}


def _advice(error: Exception) -> str:
    reason = error.reason if isinstance(error, DatabaseUnavailableError) else Reason.OTHER
    return _ADVICE.get(reason, "see ALLOCATION_DATABASE_URL and the server's log")


# --- Kafka -----------------------------------------------------------------------------------------------------------


async def _broker(service: Service) -> list[Finding]:
    settings = service.settings
    names = [*settings.kafka_inbound_topics, settings.kafka_events_topic]
    try:
        brokers, topics = await clients.describe_topics(service.kafka, names)
    except Exception as error:  # noqa: BLE001 - every error is a fault of the broker
        advice = "start the broker, or correct ALLOCATION_KAFKA_BOOTSTRAP_SERVERS; check advertised.listeners"
        return [
            Finding("broker", Verdict.FAULT, f"{service.kafka.bootstrap_servers}: {first_line(error)}", advice),
        ]
    found = Finding("broker", Verdict.OK, f"{brokers} brokers at {service.kafka.bootstrap_servers}")
    findings = [found, *(_topic(name, topics.get(name), service.kafka) for name in names)]
    for name in names:
        topic = topics.get(name)
        partitions = service.kafka.topic_partitions if topic is None else topic.partitions
        findings += check_partitions(name, partitions, settings.cells)
    return findings


def _topic(name: str, topic: clients.TopicState | None, wanted: clients.KafkaConfig) -> Finding:
    if topic is None:
        text = f"{name} does not exist"
        advice = (
            f"it is created at the start, with {wanted.topic_partitions} partitions and replication "
            f"{wanted.topic_replication}; in production create it yourself, with replication 3"
        )
        return Finding("topic", Verdict.WARNING, text, advice)
    text = f"{name}: {topic.partitions} partitions, replication {topic.replication}"
    if topic.leaderless:
        text += f"; {topic.leaderless} without a leader"
        return Finding("topic", Verdict.FAULT, text, "restart the brokers that have their replicas")
    if topic.under_replicated:
        text += f"; {topic.under_replicated} under-replicated"
        return Finding("topic", Verdict.WARNING, text, "find the broker that is down")
    if topic.partitions < wanted.topic_partitions:
        advice = (
            f"at most {topic.partitions} processes share its work, and ALLOCATION_KAFKA_TOPIC_PARTITIONS is "
            f"{wanted.topic_partitions}; do not add partitions while the service runs, see docs/operations.md"
        )
        return Finding("topic", Verdict.WARNING, text, advice)
    return Finding("topic", Verdict.OK, text)


async def _events(service: Service) -> list[Finding]:
    """Events that are too large for their topic, or have waited for too long."""
    try:
        async with asyncio.timeout(TIMEOUT / 2):
            waiting = await first_events(service.cells.engines)
    except Exception:  # noqa: BLE001 - `_database` reports every fault of the database
        return []
    topic = service.settings.kafka_events_topic
    limit = await clients.largest_batch(service.kafka, topic) if waiting else None
    large = [event for event in waiting if limit is not None and event.size + RECORD_BYTES > limit]
    late = large or [event for event in waiting if event.age > AGE_FAULT]
    if not late:
        return [Finding("events", Verdict.OK, f"none has waited for over {AGE_FAULT:.0f} s")]
    text = ", ".join(event.subject for event in late[:SUBJECTS_SHOWN])
    text += f" and {len(late) - SUBJECTS_SHOWN} more" if len(late) > SUBJECTS_SHOWN else ""
    text += f": unpublished for {max(event.age for event in late):.0f} s"
    advice = "see AllocationEventsLate in docs/alerts.md, and the log of the relay"
    if large:
        text += f", because an event is too large for {topic} (max.message.bytes={limit})"
        needed = max(event.size for event in large) + RECORD_BYTES
        advice = f"set max.message.bytes={needed} or more for the topic; the relay then publishes within a minute"
    return [Finding("events", Verdict.FAULT, text, advice)]


# --- mail ------------------------------------------------------------------------------------------------------------


async def _mail(service: Service) -> list[Finding]:
    mailer = service.mailer
    if not isinstance(mailer, SmtpMailer):
        return [Finding("mail", Verdict.WARNING, "is only logged", "set ALLOCATION_SMTP_URL to send it")]
    try:
        await mailer.check()
    except Exception as error:  # noqa: BLE001 - every error is a fault of the mail server
        advice = "start the mail server, or correct ALLOCATION_SMTP_URL: host, port, user and password"
        return [Finding("mail", Verdict.FAULT, f"{mailer.address}: {first_line(error)}", advice)]
    return [Finding("mail", Verdict.OK, f"{mailer.address} accepts mail")]


_CHECKS: tuple[tuple[str, Check], ...] = (
    ("callers", _callers),
    ("database", _database),
    ("cells", check_cells),
    ("replica", _replica),
    ("broker", _broker),
    ("events", _events),
    ("mail", _mail),
)
