"""What the settings say of connections: who is spoken to how. No server is needed."""

import ssl
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from app.adapters.tls import TlsFilesError, client_context
from app.bootstrap import bootstrap, database_tls
from app.settings import Settings
from tests.support.tls import Authority

LOCAL = "postgresql+asyncpg://allocation@localhost/allocation"
ELSEWHERE = "postgresql+asyncpg://allocation:database-password@database.example.com/allocation"


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "127.0.0.1", "127.8.8.8", "::1", "[::1]"])
def test_connections_to_this_machine_are_unencrypted_by_default(host: str) -> None:
    assert client_context([host], None) is None
    assert client_context([host], "verify") is not None


@pytest.mark.parametrize("host", ["kafka", "10.0.0.1", "localhost.example.com", "0.0.0.0", ""])
def test_connections_to_other_machines_are_encrypted_by_default(host: str) -> None:
    context = client_context(["localhost", host], None)
    assert context is not None
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert client_context([host], "off") is None


@pytest.mark.parametrize("content", [None, "", "no certificate"])
def test_a_file_of_authorities_that_cannot_be_used_is_named(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_text(content)
    with pytest.raises(TlsFilesError, match=r"ca\.pem"):
        client_context(["kafka"], "verify", ca_file=file)


def test_a_key_that_belongs_to_another_certificate_is_named(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    mine, other = authority.identity("mine"), authority.identity("other")
    with pytest.raises(TlsFilesError, match=r"other\.key"):
        client_context(["kafka"], "verify", cert_file=mine.cert_file, key_file=other.key_file)


async def test_the_broker_gets_the_certificate_and_the_password(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    mine = authority.identity("allocation")
    settings = Settings(
        _env_file=None,
        kafka_bootstrap_servers="kafka-1:9093, kafka-2:9093",
        kafka_tls_ca_file=authority.ca_file,
        kafka_tls_cert_file=mine.cert_file,
        kafka_tls_key_file=mine.key_file,
        kafka_sasl_mechanism="SCRAM-SHA-512",
        kafka_sasl_username="allocation",
        kafka_sasl_password=SecretStr("kafka-password"),
    )
    async with bootstrap(settings) as service:
        options = service.kafka.connection()
        assert isinstance(options.pop("ssl_context"), ssl.SSLContext)
        assert options == {
            "bootstrap_servers": "kafka-1:9093, kafka-2:9093",
            "security_protocol": "SASL_SSL",
            "sasl_mechanism": "SCRAM-SHA-512",
            "sasl_plain_username": "allocation",
            "sasl_plain_password": "kafka-password",
        }
        assert "kafka-password" not in repr(service)


@pytest.mark.parametrize(
    ("tls", "logs_in", "protocol"),
    [
        ("off", False, "PLAINTEXT"),
        ("verify", False, "SSL"),
        ("off", True, "SASL_PLAINTEXT"),
        ("verify", True, "SASL_SSL"),
    ],
)
async def test_the_protocol_follows_from_what_is_set(tls: str, protocol: str, *, logs_in: bool) -> None:
    sasl: dict[str, Any] = {
        "kafka_sasl_mechanism": "PLAIN",
        "kafka_sasl_username": "allocation",
        "kafka_sasl_password": "kafka-password",
    }
    settings = Settings.model_validate({"kafka_tls": tls, **(sasl if logs_in else {})})
    async with bootstrap(settings) as service:
        assert service.kafka.connection()["security_protocol"] == protocol


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"kafka_sasl_mechanism": "PLAIN"}, "together"),
        ({"kafka_sasl_username": "a", "kafka_sasl_password": "b"}, "together"),
        ({"kafka_tls_cert_file": __file__}, "together"),
        ({"smtp_tls": "off", "smtp_url": "smtps://mail.example.com"}, "SMTP_TLS"),
        ({"database_url": f"{ELSEWHERE}?ssl=require"}, "ALLOCATION_DATABASE_TLS"),
        ({"database_url": f"{LOCAL}?%73slmode=disable"}, "ALLOCATION_DATABASE_TLS"),
        ({"database_url": f"{LOCAL}?host=database.example.com"}, "one place"),
        ({"database_url": f"{LOCAL}?application_name=a&h%6Fst=database.example.com"}, "one place"),
        ({"read_database_url": f"{LOCAL}#?host=database.example.com"}, "one place"),
        ({"database_url": f"{LOCAL}?port=5433"}, "one place"),
        ({"database_url": f"{LOCAL}?dsn=postgresql://database.example.com"}, "one place"),
        ({"database_url": "postgresql+asyncpg://localhost:5432#@/allocation"}, "URL"),
        # One way to read this URL ends the host at the number sign, another begins it behind the at sign.
        ({"database_url": "postgresql+asyncpg://localhost:5432#@database.example.com/a"}, "URL"),
        ({"database_url": f"{LOCAL}?target_session_attrs=standby"}, "read-write"),
        ({"database_url": f"{LOCAL}?target_session_attrs=writable"}, "read-write"),
        ({"read_database_url": "postgresql://database.example.com/allocation"}, "URL"),
        ({"jwt_jwks_url": "http://login.example.com/jwks.json"}, "https"),
        ({"jwt_jwks_url": "http://localhost.example.com/jwks.json"}, "https"),
        ({"database_tls_ca_file": "/nowhere/ca.pem"}, "path"),
        ({"database_tls": "require"}, "verify"),
    ],
)
def test_what_does_not_fit_together_is_refused_without_a_secret(given: dict[str, str], words: str) -> None:
    with pytest.raises(ValidationError, match=words) as caught:
        Settings.model_validate(given)
    shown = [fault["msg"] for fault in caught.value.errors(include_input=False)]
    assert "database-password" not in str(shown)


@pytest.mark.parametrize("url", ["https://login.example.com/jwks.json", "http://localhost:8080/k", "http://[::1]/k"])
def test_keys_of_a_provider_come_over_tls_or_from_this_machine(url: str) -> None:
    assert Settings.model_validate({"jwt_jwks_url": url}).jwt_jwks_url == url


@pytest.mark.parametrize("servers", ["[::1]:9092", "[fe80::1%eth0]:9092, kafka-2:9092", "10.0.0.1:1,[2001:db8::1]:2"])
def test_a_broker_may_be_named_by_an_address_of_either_kind(servers: str) -> None:
    assert Settings.model_validate({"kafka_bootstrap_servers": servers}).kafka_bootstrap_servers == servers


@pytest.mark.parametrize("servers", ["::1:9092", "[::1]", "[]:9092", "[kafka]:9092", "kafka:9092,", "[::1:9092"])
def test_an_address_that_is_none_is_refused(servers: str) -> None:
    with pytest.raises(ValidationError, match="host:port"):
        Settings.model_validate({"kafka_bootstrap_servers": servers})


async def test_a_broker_on_this_machine_is_one_by_its_ipv6_address_too() -> None:
    async with bootstrap(Settings.model_validate({"kafka_bootstrap_servers": "[::1]:9092"})) as service:
        assert service.kafka.connection()["security_protocol"] == "PLAINTEXT"


def test_the_url_may_contain_options_of_the_driver() -> None:
    url = f"{LOCAL}?application_name=ssl-host&prepared_statement_cache_size=0"
    assert Settings.model_validate({"database_url": url}).database_url.get_secret_value() == url


@pytest.mark.parametrize("servers", ["localhost,database.example.com", "[::1]:5432,10.0.0.1:5432", "127.0.0.1:1,db"])
def test_one_server_elsewhere_means_tls_for_all_servers_of_the_url(servers: str) -> None:
    url = f"postgresql+asyncpg://allocation@{servers}/allocation"
    assert database_tls(Settings.model_validate({"database_url": url})) is not None
    assert database_tls(Settings.model_validate({"database_url": LOCAL, "read_database_url": url})) is not None


def test_several_servers_of_this_machine_need_no_tls() -> None:
    url = "postgresql+asyncpg://allocation@localhost:5432,127.0.0.1:5433,[::1]:5434/allocation"
    assert database_tls(Settings.model_validate({"database_url": url})) is None


def test_one_database_elsewhere_means_tls_for_both() -> None:
    assert database_tls(Settings.model_validate({"database_url": ELSEWHERE})) is not None
    assert database_tls(Settings.model_validate({"read_database_url": ELSEWHERE})) is not None
    assert database_tls(Settings(_env_file=None)) is None
