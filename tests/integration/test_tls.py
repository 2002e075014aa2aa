"""TLS to PostgreSQL, the mail server and Kafka: only a server with a trusted certificate for its name is used."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError, KafkaError
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from pydantic import SecretStr
from sqlalchemy.engine import make_url

from app.adapters.kafka import clients, lifecycle
from app.adapters.postgresql import schema
from app.adapters.postgresql.outbox_signal import OutboxListener
from app.adapters.postgresql.unavailable import DatabaseUnavailableError
from app.bootstrap import bootstrap, database_tls
from app.embedded.process import free_port
from app.service_layer.notifications import Mail, Mailer
from app.service_layer.ports import TemporarilyUnavailableError
from app.settings import Settings
from tests.support.apache_kafka import ApacheKafka
from tests.support.cells import CELLS
from tests.support.mail import MailBox
from tests.support.tls import Authority, TlsServer, postgresql_behind_tls

MAIL = Mail(to="stock@made.com", subject="Out of stock", body="Out of stock for CHAIR")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The authority that the service trusts."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """An authority that the service does not trust."""
    return Authority(tmp_path_factory.mktemp("stranger"))


@pytest.fixture
async def tls_server(settings: Settings, authority: Authority) -> AsyncIterator[TlsServer]:
    """A PostgreSQL that refuses connections without TLS."""
    port = make_url(settings.database_url.get_secret_value()).port
    assert port is not None
    async with postgresql_behind_tls(port, authority.identity("127.0.0.1").server_context()) as server:
        yield server


def over_tls(settings: Settings, server: TlsServer, host: str, **tls: Any) -> Settings:
    """The settings with the server in place of PostgreSQL."""
    url = make_url(settings.database_url.get_secret_value()).set(host=host, port=server.port)
    return settings.model_copy(update={"database_url": SecretStr(url.render_as_string(hide_password=False)), **tls})


async def test_every_connection_to_postgresql_is_encrypted(
    settings: Settings, tls_server: TlsServer, authority: Authority
) -> None:
    verifying = over_tls(
        settings, tls_server, "127.0.0.1", database_tls="verify", database_tls_ca_file=authority.ca_file
    )
    url, tls = verifying.database_url.get_secret_value(), database_tls(verifying)
    await asyncio.to_thread(schema.migrate, url, tls=tls, cells=CELLS.number)
    assert tls_server.encrypted > 0
    async with bootstrap(verifying) as service:
        for engine in (service.engine, service.read_engine):
            assert await schema.check(engine, cells=CELLS.number) is None
        before = tls_server.encrypted
        async with OutboxListener(url, lambda: None, tls=tls) as listener:
            await listener.ensure()
    assert (tls_server.encrypted - before, tls_server.refused) == (1, 0)


@pytest.mark.parametrize("fault", ["an unknown authority", "another name", "no TLS"])
async def test_no_connection_to_postgresql_without_verified_tls(
    settings: Settings, tls_server: TlsServer, authority: Authority, stranger: Authority, fault: str
) -> None:
    host = "localhost" if fault == "another name" else "127.0.0.1"
    ca_file = stranger.ca_file if fault == "an unknown authority" else authority.ca_file
    choice = "off" if fault == "no TLS" else "verify"
    wrong = over_tls(settings, tls_server, host, database_tls=choice, database_tls_ca_file=ca_file)
    reason = "not available" if fault == "no TLS" else "certificate verify failed"
    async with bootstrap(wrong) as service:
        with pytest.raises(DatabaseUnavailableError, match=reason):
            await schema.check(service.engine)
    with pytest.raises(DatabaseUnavailableError, match=reason):
        await OutboxListener(wrong.database_url.get_secret_value(), lambda: None, tls=database_tls(wrong)).ensure()
    with pytest.raises(DatabaseUnavailableError, match=reason):
        await asyncio.to_thread(schema.migrate, wrong.database_url.get_secret_value(), tls=database_tls(wrong))


class RecordingMailBox(MailBox):
    """Records each login, and whether it was encrypted."""

    logins: list[tuple[bytes, bool]]

    def login(self, _: SMTP, session: Session, __: Envelope, ___: str, data: LoginPassword) -> AuthResult:
        """Accept any password."""
        self.logins.append((data.password, session.ssl is not None))
        return AuthResult(success=True)


@contextmanager
def mail_server(scheme: str, context: ssl.SSLContext | None) -> Iterator[RecordingMailBox]:
    """A mail server on 127.0.0.1: TLS from the start with smtps, STARTTLS with smtp and a context."""
    port = free_port()
    box = RecordingMailBox(url=f"{scheme}://user:mail-password@127.0.0.1:{port}")
    box.logins = []
    controller = Controller(
        box,
        hostname="127.0.0.1",
        port=port,
        ssl_context=context if scheme == "smtps" else None,
        tls_context=context if scheme == "smtp" else None,
        # The server recognises STARTTLS only, not TLS from the start.
        auth_require_tls=False,
        authenticator=box.login,
    )
    controller.start()
    try:
        yield box
    finally:
        controller.stop()


async def mailer(box: MailBox, settings: Settings, **tls: Any) -> Mailer:
    changed = settings.model_copy(update={"smtp_url": SecretStr(box.url), **tls})
    async with bootstrap(changed) as service:
        return service.mailer


@pytest.mark.parametrize("scheme", ["smtp", "smtps"])
async def test_mail_and_its_password_are_encrypted(settings: Settings, authority: Authority, scheme: str) -> None:
    with mail_server(scheme, authority.identity("127.0.0.1").server_context()) as box:
        verifying = await mailer(box, settings, smtp_tls="verify", smtp_tls_ca_file=authority.ca_file)
        await verifying.send(MAIL)
        assert box.bodies_to(MAIL.to) == [MAIL.body]
        assert box.logins == [(b"mail-password", scheme == "smtp")]


@pytest.mark.parametrize("scheme", ["smtp", "smtps"])
@pytest.mark.parametrize("name", ["127.0.0.1", "mail.example.com"])
async def test_a_mail_server_without_a_trusted_certificate_gets_nothing(
    settings: Settings, authority: Authority, stranger: Authority, scheme: str, name: str
) -> None:
    whose = stranger if name == "127.0.0.1" else authority
    with mail_server(scheme, whose.identity(name).server_context()) as box:
        verifying = await mailer(box, settings, smtp_tls="verify", smtp_tls_ca_file=authority.ca_file)
        with pytest.raises(TemporarilyUnavailableError, match="certificate verify failed"):
            await verifying.send(MAIL)
        assert (box.mails, box.logins) == ([], [])


async def test_a_mail_server_without_starttls_gets_nothing(settings: Settings, authority: Authority) -> None:
    with mail_server("smtp", None) as box:
        verifying = await mailer(box, settings, smtp_tls="verify", smtp_tls_ca_file=authority.ca_file)
        with pytest.raises(TemporarilyUnavailableError, match="STARTTLS"):
            await verifying.send(MAIL)
        assert (box.mails, box.logins) == ([], [])
        trusting = await mailer(box, settings, smtp_tls="off")
        await trusting.send(MAIL)
        assert box.bodies_to(MAIL.to) == [MAIL.body]


BROKER = """\
listener.security.protocol.map=PLAINTEXT:SASL_SSL,CONTROLLER:PLAINTEXT
sasl.enabled.mechanisms=PLAIN
sasl.mechanism.inter.broker.protocol=PLAIN
listener.name.plaintext.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required \
username="admin" password="admin-password" user_admin="admin-password" user_allocation="kafka-password";
ssl.keystore.type=PEM
ssl.keystore.location=KEYSTORE
ssl.truststore.type=PEM
ssl.truststore.location=TRUSTSTORE
"""


@pytest.mark.kafka
async def test_apache_kafka_is_used_over_tls_with_a_login(
    request: pytest.FixtureRequest, authority: Authority, stranger: Authority, tmp_path: Path
) -> None:
    if request.config.getoption("--broker") != "apache":
        pytest.skip("the embedded broker speaks in the clear only")
    keystore = authority.identity("127.0.0.1").both_file
    lines = BROKER.replace("KEYSTORE", str(keystore)).replace("TRUSTSTORE", str(authority.ca_file))
    with ApacheKafka(data_dir=tmp_path / "kafka", configuration=lines) as broker:
        settings = Settings(
            _env_file=None,
            kafka_bootstrap_servers=broker.bootstrap_servers,
            kafka_tls="verify",
            kafka_tls_ca_file=authority.ca_file,
            kafka_sasl_mechanism="PLAIN",
            kafka_sasl_username="allocation",
            kafka_sasl_password=SecretStr("kafka-password"),
        )
        async with bootstrap(settings) as service:
            await clients.check_broker(service.kafka)
            await clients.create_topics(service.kafka, ["events"])
            producer = await clients.start_producer(service.kafka)
            await producer.send_and_wait("events", b"hello")
            await lifecycle.stop(producer)
            consumer = await clients.start_consumer(service.kafka, ["events"], "readers")
            assert (await asyncio.wait_for(consumer.getone(), 60)).value == b"hello"
            await lifecycle.stop(consumer)
        wrong: list[tuple[dict[str, Any], type[Exception]]] = [
            ({"kafka_sasl_password": SecretStr("guessed")}, KafkaError),
            ({"kafka_tls_ca_file": stranger.ca_file}, KafkaConnectionError),
        ]
        for change, expected in wrong:
            async with bootstrap(settings.model_copy(update=change)) as service:
                with pytest.raises(expected) as caught:
                    await clients.check_broker(service.kafka)
                assert "guessed" not in repr(caught.value)
