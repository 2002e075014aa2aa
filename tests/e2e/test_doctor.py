"""`allocation doctor` checks everything that the service needs, and gives advice with each fault."""

import asyncio
import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from app.adapters.kafka import clients
from app.adapters.kafka.clients import KafkaConfig, TopicState
from app.adapters.postgresql.connections import create_engine
from app.adapters.postgresql.errors import translate
from app.domain.commands import CreateBatch
from app.embedded.process import free_port
from app.operations import doctor
from app.operations.doctor import Verdict, _advice, _clock, _topic
from app.settings import Settings
from tests.e2e.conftest import RunHere
from tests.support.cells import CELLS
from tests.support.database import bus_over, raw_connection, results
from tests.support.identity_provider import AUDIENCE, ISSUER, running_identity_provider
from tests.support.mail import MailBox
from tests.support.terminal import at_terminal

pytestmark = pytest.mark.kafka


def given(settings: Settings, **more: str) -> dict[str, str]:
    """The settings with the addresses of servers, as text."""
    return {
        "database_url": settings.database_url.get_secret_value(),
        "kafka_bootstrap_servers": settings.kafka_bootstrap_servers,
        "kafka_inbound_topics": ",".join(settings.kafka_inbound_topics),
        "kafka_events_topic": settings.kafka_events_topic,
        **more,
    }


def create_topics(settings: Settings) -> None:
    config = KafkaConfig(settings.kafka_bootstrap_servers)
    asyncio.run(clients.create_topics(config, [*settings.kafka_inbound_topics, settings.kafka_events_topic]))


def test_a_working_installation_has_no_faults(run_here: RunHere, kafka_settings: Settings, mail_box: MailBox) -> None:
    create_topics(kafka_settings)
    done = run_here("doctor", **given(kafka_settings, smtp_url=mail_box.url))
    assert done.returncode == 0, done.stdout
    verdicts = {tuple(line.split()[:2]) for line in done.stdout.splitlines()}
    names = ("settings", "database", "schema", "clock", "broker", "topic", "mail")
    assert {("ok", name) for name in names} <= verdicts
    assert "fault" not in {verdict for verdict, _ in verdicts}
    assert mail_box.mails == []


def test_topics_that_are_missing_are_a_warning_and_stay_missing(run_here: RunHere, kafka_settings: Settings) -> None:
    for _ in range(2):
        done = run_here("doctor", "--json", **given(kafka_settings, kafka_topic_partitions="12"))
        assert done.returncode == 0
        findings = [json.loads(line) for line in done.stdout.splitlines()]
        topics = [each for each in findings if each["name"] == "topic"]
        assert {(each["verdict"], each["text"].split()[1]) for each in topics} == {("warning", "does")}
        assert all("is created" in each["advice"] for each in topics)


def test_each_unreachable_server_is_a_fault_with_advice(run_here: RunHere) -> None:
    away = f"127.0.0.1:{free_port()}"
    done = run_here(
        "doctor",
        database_url=f"postgresql+asyncpg://allocation:secret@{away}/allocation",
        kafka_bootstrap_servers=away,
        smtp_url=f"smtp://allocation:secret@{away}",
    )
    assert done.returncode == 1
    assert done.stderr == "allocation: 3 faults found\n"
    faults = {line.split()[1]: line for line in done.stdout.splitlines() if line.startswith("fault")}
    assert "start PostgreSQL" in faults["database"]
    assert "ALLOCATION_KAFKA_BOOTSTRAP_SERVERS" in faults["broker"]
    assert "ALLOCATION_SMTP_URL" in faults["mail"]
    assert all(away in line for line in faults.values())
    assert "secret" not in done.stdout


@pytest.fixture
def mute() -> Iterator[str]:
    """A server that accepts connections and never responds."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def test_servers_that_never_respond_are_faults_after_a_timeout(
    run_here: RunHere, mute: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "TIMEOUT", 0.3)
    done = run_here(
        "doctor",
        database_url=f"postgresql+asyncpg://allocation@{mute}/allocation",
        kafka_bootstrap_servers=mute,
        smtp_url=f"smtp://{mute}",
    )
    assert done.returncode == 1
    faults = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("fault")]
    assert faults == ["database", *["cells"] * (CELLS.number > 1), "broker", "mail"]
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("change", "advice"), [({"database": "nowhere"}, "create the database"), ({"username": "unknown"}, "correct user")]
)
def test_a_database_that_refuses_is_reported_with_advice(
    change: dict[str, str], advice: str, run_here: RunHere, kafka_settings: Settings
) -> None:
    wrong = make_url(kafka_settings.database_url.get_secret_value()).set(**change).render_as_string(hide_password=False)  # type: ignore[arg-type]
    done = run_here("doctor", **given(kafka_settings, database_url=wrong))
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("fault")]
    assert line.split()[1] == "database"
    assert advice in line


def test_a_missing_schema_is_reported_with_advice(
    run_here: RunHere, kafka_settings: Settings, empty_database_url: str
) -> None:
    done = run_here("doctor", **given(kafka_settings, database_url=empty_database_url))
    assert done.returncode == 1
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("fault")]
    assert line.split()[1] == "schema"
    assert line.endswith("run: allocation migrate")


@pytest.mark.parametrize(
    ("choice", "verdict", "words"),
    [
        ({}, "warning", "set ALLOCATION_AUTH"),
        ({"auth": "none"}, "ok", "none"),
        ({"auth": "api-keys", "api_keys_file": "nowhere.toml"}, "fault", "nowhere.toml: No such file"),
    ],
)
def test_a_missing_or_wrong_choice_of_authentication_is_reported(
    choice: dict[str, str], verdict: str, words: str, run_here: RunHere, kafka_settings: Settings
) -> None:
    done = run_here("doctor", **given(kafka_settings, **choice))
    assert done.returncode == (1 if verdict == "fault" else 0), done.stdout
    (line,) = [line for line in done.stdout.splitlines() if line.split()[1] == "callers"]
    assert line.split()[0] == verdict
    assert words in line


def test_the_keys_of_the_identity_provider_are_fetched(run_here: RunHere, kafka_settings: Settings) -> None:
    with running_identity_provider() as provider:
        jwt = {"auth": "jwt", "jwt_issuer": ISSUER, "jwt_audience": AUDIENCE, "jwt_jwks_url": provider.url}
        well = run_here("doctor", **given(kafka_settings, **jwt))
        provider.status = 500
        away = run_here("doctor", **given(kafka_settings, **jwt))
        for done, verdict in ((well, "ok"), (away, "fault")):
            (line,) = [line for line in done.stdout.splitlines() if line.split()[1] == "callers"]
            assert (line.split()[0], provider.url in line) == (verdict, True)
    assert (well.returncode, away.returncode) == (0, 1)


def test_an_invalid_ca_file_is_a_fault(run_here: RunHere, kafka_settings: Settings, tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.write_text("no certificate")
    done = run_here("doctor", **given(kafka_settings, database_tls="verify", database_tls_ca_file=str(file)))
    assert (done.returncode, done.stderr) == (1, "allocation: 1 fault found\n")
    assert [tuple(line.split()[:2]) for line in done.stdout.splitlines()] == [("ok", "settings"), ("fault", "tls")]
    assert str(file) in done.stdout


def test_an_event_that_is_too_large_for_its_topic_is_a_fault_with_advice(
    run_here: RunHere, kafka_settings: Settings
) -> None:
    create_topics(kafka_settings)
    url = kafka_settings.database_url.get_secret_value()
    asyncio.run(_write_event(url))
    asyncio.run(_execute(url, "UPDATE events SET data = repeat('x', 2000000)"))
    done = run_here("doctor", "--json", **given(kafka_settings))
    found = {each["name"]: each for each in map(json.loads, done.stdout.splitlines())}["events"]
    # The embedded broker reports no limit, so only the age of the event counts there.
    limited = "max.message.bytes" in found["text"]
    assert found["verdict"] == ("fault" if limited else "ok")
    assert not limited or ("LAMP" in found["text"] and "max.message.bytes=2002048" in found["advice"])

    asyncio.run(_execute(url, "UPDATE events SET data = '{}', created_at = now() - interval '90 seconds'"))
    done = run_here("doctor", **given(kafka_settings))
    (line,) = [line for line in done.stdout.splitlines() if line.split()[1] == "events"]
    assert line.startswith("fault")
    assert "LAMP: unpublished for 9" in line
    assert "AllocationEventsLate" in line


async def _write_event(url: str) -> None:
    engine = create_engine(url, pool_size=1)
    await results(bus_over(engine), CreateBatch(ref="batch-1", sku="LAMP", qty=1))
    await engine.dispose()


async def _execute(url: str, statement: str) -> None:
    async with raw_connection(url) as connection:
        await connection.execute(statement)


def test_a_read_replica_is_checked(run_here: RunHere, kafka_settings: Settings, empty_database_url: str) -> None:
    url = make_url(kafka_settings.database_url.get_secret_value())
    away = url.set(port=free_port()).render_as_string(hide_password=False)
    replicas = {
        kafka_settings.database_url.get_secret_value(): ("ok", "PostgreSQL"),
        away: ("fault", "ALLOCATION_READ_DATABASE_URL"),
        empty_database_url: ("fault", "replicates"),
    }
    for replica, (verdict, word) in replicas.items():
        done = run_here("doctor", **given(kafka_settings, read_database_url=replica))
        (line,) = [line for line in done.stdout.splitlines() if line.split()[1] == "replica"]
        assert line.split()[0] == verdict
        assert word in line
    assert " replica " not in run_here("doctor", **given(kafka_settings)).stdout


def test_all_wrong_settings_are_reported_together(run_here: RunHere) -> None:
    done = run_here("doctor", log_format="xml", http_deadline="10", databse_url="x", zzz="1")
    assert done.returncode == 1
    assert done.stderr == "allocation: 2 faults found\n"
    faults = [line for line in done.stdout.splitlines() if line.startswith("fault")]
    assert all("settings" in line for line in faults)
    assert {name for line in faults for name in line.split() if name.startswith("ALLOCATION_")} == {
        "ALLOCATION_LOG_FORMAT:",
        "ALLOCATION_HTTP_DEADLINE:",
    }
    warnings = [line for line in done.stdout.splitlines() if line.startswith("warning")]
    assert "ALLOCATION_DATABSE_URL" in warnings[0]
    assert "did you mean ALLOCATION_DATABASE_URL?" in warnings[0]
    assert "ALLOCATION_ZZZ" in warnings[1]


def test_a_terminal_gets_a_table(run_here: RunHere, monkeypatch: pytest.MonkeyPatch) -> None:
    with at_terminal(monkeypatch) as screen:
        assert run_here("doctor", log_format="xml").returncode == 1
    assert "what to do" in screen.text
    assert "\x1b[1;31mfault" in screen.text


@pytest.mark.parametrize(
    ("ahead", "verdict"),
    [(0.0, "ok"), (-0.9, "ok"), (1.1, "warning"), (-29, "warning"), (31, "fault"), (-3600, "fault")],
)
def test_the_clock(ahead: float, verdict: str) -> None:
    finding = _clock(ahead)
    assert finding.verdict == verdict
    assert bool(finding.advice) == (verdict != "ok")


@pytest.mark.parametrize(
    ("topic", "verdict", "word"),
    [
        (TopicState("t", partitions=6, replication=3, leaderless=0, under_replicated=0), Verdict.OK, "6 partitions"),
        (TopicState("t", partitions=6, replication=3, leaderless=1, under_replicated=1), Verdict.FAULT, "leader"),
        (
            TopicState("t", partitions=6, replication=3, leaderless=0, under_replicated=2),
            Verdict.WARNING,
            "under-replicated",
        ),
        (
            TopicState("t", partitions=1, replication=3, leaderless=0, under_replicated=0),
            Verdict.WARNING,
            "1 partitions",
        ),
    ],
)
def test_the_state_of_a_topic(topic: TopicState, verdict: Verdict, word: str) -> None:
    finding = _topic("t", topic, KafkaConfig("localhost:9092"))
    assert finding.verdict == verdict
    assert word in finding.text
    assert bool(finding.advice) == (verdict != Verdict.OK)


def test_an_unknown_host_is_reported_with_advice() -> None:
    error = translate(socket.gaierror(-2, "Name or service not known"))
    assert "the host is unknown" in _advice(error)
