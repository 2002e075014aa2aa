"""The settings: environment variables with the prefix ALLOCATION_, or the same names in a file `.env`.

`.env.example` explains each of them; a test compares the two.
"""

import re
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from pydantic import Field, FilePath, SecretStr, field_validator, model_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from app.adapters.postgresql.database_url import DatabaseUrl
from app.adapters.tls import is_loopback

# An IPv6 address is in brackets, because it contains colons.
_SERVER = r"(?:[^\s,:\[\]]+|\[[0-9A-Fa-f:.]+(?:%[^\s,:\[\]]+)?\]):[0-9]{1,5}"
_SERVERS = re.compile(rf"{_SERVER}(\s*,\s*{_SERVER})*")
_TOPIC = re.compile(r"[A-Za-z0-9._-]{1,249}")


# Asymmetric algorithms only: the key that checks a signature is public. HS256 and `none` are excluded.
Algorithm = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
Email = Annotated[str, Field(pattern=r"^[^@\s<>,]+@[^@\s<>,]+$")]
Tls = Literal["verify", "off"]
"""`verify`: the connection is encrypted, and the server's certificate and name are checked. `off`: neither."""


def _check_url(value: str, schemes: set[str], example: str) -> None:
    """Raise an error unless the value is a URL of one of the schemes. The error omits it: it may have a password."""
    try:
        parts = urlsplit(value)
        well_formed = parts.scheme in schemes and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        well_formed = False
    if not well_formed:
        raise PydanticCustomError("url_form", "should be a URL like {example}", {"example": example})


class Settings(BaseSettings):
    """Everything that differs from one installation to the next. Durations are in seconds."""

    model_config = SettingsConfigDict(
        env_prefix="ALLOCATION_", env_file=".env", env_ignore_empty=True, extra="ignore", frozen=True
    )

    database_url: SecretStr = SecretStr("postgresql+asyncpg://allocation@localhost:5432/allocation")
    read_database_url: SecretStr | None = None
    database_pool_size: Annotated[int, Field(ge=2, le=200)] = 10
    cells: Annotated[int, Field(ge=1, le=1024)] = 1
    enter_at_nodes: bool = False
    database_tls: Tls | None = None
    database_tls_ca_file: FilePath | None = None

    kafka_bootstrap_servers: str = "localhost:9092"
    kafka_tls: Tls | None = None
    kafka_tls_ca_file: FilePath | None = None
    kafka_tls_cert_file: FilePath | None = None
    kafka_tls_key_file: FilePath | None = None
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = None
    kafka_sasl_username: str | None = None
    kafka_sasl_password: SecretStr | None = None
    kafka_inbound_topics: Annotated[list[str], NoDecode] = ["allocation.inbound.v1"]
    kafka_events_topic: str = "allocation.events.v1"
    kafka_consumer_group: str = "allocation"
    kafka_notifier_group: str = "allocation-notifier"
    kafka_idempotent_producer: bool = True
    kafka_session_timeout: Annotated[float, Field(ge=1, le=300)] | None = None
    kafka_topic_partitions: Annotated[int, Field(ge=1)] = 6
    kafka_topic_replication: Annotated[int, Field(ge=1)] = 1
    event_source: str = "/allocation"

    smtp_url: SecretStr | None = None
    smtp_tls: Tls | None = None
    smtp_tls_ca_file: FilePath | None = None
    stock_email: Email = "stock@made.com"
    warehouse_email: Email | None = None
    from_email: Email = "allocations@example.com"

    auth: Literal["jwt", "api-keys", "none"] | None = None
    auth_none_on_any_address: bool = False
    jwt_issuer: str | None = None
    jwt_audience: str | None = None
    jwt_jwks_url: str | None = None
    jwt_algorithms: Annotated[list[Algorithm], NoDecode, Field(min_length=1)] = ["RS256", "ES256", "EdDSA"]
    jwt_leeway: Annotated[float, Field(ge=0, le=300)] = 10.0
    api_keys_file: Path | None = None

    problem_type_base: str = "/problems/"
    http_deadline: Annotated[float, Field(gt=0, le=9)] = 8.0
    shutdown_delay: Annotated[float, Field(ge=0, le=60)] = 0.0
    shutdown_grace: Annotated[float, Field(gt=0, le=120)] = 10.0
    http_max_body_bytes: Annotated[int, Field(ge=1024)] = 65_536
    http_max_bulk_body_bytes: Annotated[int, Field(ge=1024)] = 1_048_576
    http_max_bodies_bytes: Annotated[int, Field(ge=1024)] = 67_108_864
    http_max_header_bytes: Annotated[int, Field(ge=1024)] = 32_768
    http_max_concurrent: Annotated[int, Field(ge=1)] = 2048
    http_max_connections: Annotated[int, Field(ge=1)] = 8192
    http_max_streams: Annotated[int, Field(ge=1)] = 500
    http_read_timeout: Annotated[float, Field(gt=0)] = 10.0
    http_allowed_hosts: Annotated[list[str], NoDecode] = []
    http_rate_limit: Annotated[int, Field(ge=1)] | None = None
    http_rate_window: Annotated[int, Field(ge=1)] = 60
    bus_workers: Annotated[int, Field(ge=1, le=8)] = 2
    bus_queue_limit: Annotated[int, Field(ge=1)] = 2048
    bus_group_limit: Annotated[int, Field(ge=1, le=1000)] = 256
    consumer_batch_limit: Annotated[int, Field(ge=1, le=1000)] = 256
    relay_lease: Annotated[float, Field(gt=0)] = 5.0
    cart_currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")] = "EUR"
    cart_retention_days: Annotated[int, Field(ge=1)] = 30
    inbox_retention_days: Annotated[int, Field(ge=1)] = 30
    idempotency_retention_hours: Annotated[int, Field(ge=1)] = 24
    time_zone: str = "UTC"
    hold_max: Annotated[int, Field(ge=1, le=14_400)] = 900
    reconcile_interval: Annotated[float, Field(ge=0)] = 3600.0

    log_format: Literal["json", "console"] = "console"
    log_keys: Literal["own", "ecs", "otel"] = "own"
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_access: bool = False

    otlp_endpoint: str | None = None
    trace_ratio: Annotated[float, Field(ge=0, le=1)] = 0.01

    @property
    def zone(self) -> ZoneInfo:
        """The time zone that decides which day it is."""
        return ZoneInfo(self.time_zone)

    @field_validator("time_zone")
    @classmethod
    def _check_time_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (KeyError, ValueError, OSError):
            raise PydanticCustomError(
                "time_zone", "should be the name of a time zone, such as UTC or Europe/Berlin"
            ) from None
        return value

    @field_validator("database_url", "read_database_url")
    @classmethod
    def _check_database_url(cls, value: SecretStr | None) -> SecretStr | None:
        """Report a wrong driver or URL when the process starts, not at the first connection."""
        if value is None:
            return None
        try:
            database = DatabaseUrl.parse(value.get_secret_value())
        except ValueError as error:
            raise PydanticCustomError("url_form", "{reason}", {"reason": str(error)}) from None
        if database.url.drivername != "postgresql+asyncpg":
            example = "postgresql+asyncpg://user:password@host:5432/database"
            raise PydanticCustomError("url_form", "should be a URL like {example}", {"example": example})
        if any(name.startswith("ssl") for name in database.url.query):
            raise PydanticCustomError("tls_apart", "should not have ssl parameters; use ALLOCATION_DATABASE_TLS")
        # The driver would connect to the host in the query, but TLS is chosen for the host before it.
        if not database.url.query.keys().isdisjoint(("host", "port", "dsn")):
            raise PydanticCustomError(
                "one_place",
                "should name hosts and ports in one place, before the database, as host1:5432,host2:5432",
            )
        return value

    @field_validator("database_url")
    @classmethod
    def _check_target(cls, value: SecretStr) -> SecretStr:
        """A server that does not accept writes would make every write fail."""
        if DatabaseUrl.parse(value.get_secret_value()).target not in {None, "read-write", "primary"}:
            raise PydanticCustomError(
                "takes_writes", "should have read-write or primary as target_session_attrs, or omit it"
            )
        return value

    @field_validator("smtp_url")
    @classmethod
    def _check_smtp_url(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            _check_url(value.get_secret_value(), {"smtp", "smtps"}, "smtp://host:25")
        return value

    @field_validator("otlp_endpoint")
    @classmethod
    def _check_otlp_endpoint(cls, value: str | None) -> str | None:
        if value is not None:
            _check_url(value, {"http", "https"}, "http://localhost:4318")
        return value

    @field_validator("problem_type_base")
    @classmethod
    def _check_problem_type_base(cls, value: str) -> str:
        if not value.startswith("/"):
            _check_url(value, {"http", "https"}, "https://docs.example.com/problems/")
        if not value.endswith(("/", "#")):
            raise PydanticCustomError("base_form", "should end in / or #; the code of the problem is appended")
        return value

    @field_validator("kafka_bootstrap_servers")
    @classmethod
    def _check_servers(cls, value: str) -> str:
        if not _SERVERS.fullmatch(value):
            raise PydanticCustomError("servers_form", "should be host:port, or several separated by commas")
        return value

    @field_validator("kafka_inbound_topics")
    @classmethod
    def _check_topics(cls, value: list[str]) -> list[str]:
        if not value or not all(_TOPIC.fullmatch(topic) for topic in value):
            raise PydanticCustomError("topics_form", "should be names of topics separated by commas")
        return value

    @field_validator("kafka_inbound_topics", "jwt_algorithms", "http_allowed_hosts", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        """Split a list at its commas."""
        if isinstance(value, str):
            return [item.strip() for item in value.split(",") if item.strip()]
        return value

    @field_validator("jwt_jwks_url")
    @classmethod
    def _check_jwks_url(cls, value: str | None) -> str | None:
        if value is not None:
            _check_url(value, {"https", "http"}, "https://login.example.com/jwks.json")
            parts = urlsplit(value)
            # Without TLS an attacker on the network could replace the keys, and so forge tokens.
            if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
                raise PydanticCustomError(
                    "in_the_clear", "should begin with https://, except for a provider on localhost"
                )
        return value

    @model_validator(mode="after")
    def _check_what_belongs_together(self) -> Self:
        """Report incomplete or contradictory settings when the process starts."""
        sasl = (self.kafka_sasl_mechanism, self.kafka_sasl_username, self.kafka_sasl_password)
        if any(sasl) and not all(sasl):
            raise PydanticCustomError(
                "together", "ALLOCATION_KAFKA_SASL_MECHANISM, _USERNAME and _PASSWORD should be set together"
            )
        if (self.kafka_tls_cert_file is None) != (self.kafka_tls_key_file is None):
            raise PydanticCustomError(
                "together", "ALLOCATION_KAFKA_TLS_CERT_FILE and ALLOCATION_KAFKA_TLS_KEY_FILE should be set together"
            )
        if self.smtp_tls == "off" and self.smtp_url and self.smtp_url.get_secret_value().startswith("smtps:"):
            raise PydanticCustomError(
                "contradiction", "ALLOCATION_SMTP_TLS=off contradicts smtps:// as ALLOCATION_SMTP_URL"
            )
        largest = max(self.http_max_body_bytes, self.http_max_bulk_body_bytes)
        if self.http_max_bodies_bytes < 2 * largest:
            raise PydanticCustomError(
                "too_small_for_one",
                "ALLOCATION_HTTP_MAX_BODIES_BYTES should be at least twice the largest body, here {least}",
                {"least": 2 * largest},
            )
        needed = {"jwt": ("jwt_issuer", "jwt_audience", "jwt_jwks_url"), "api-keys": ("api_keys_file",)}
        for name in needed.get(self.auth or "", ()):
            if getattr(self, name) is None:
                raise PydanticCustomError(
                    "identity_incomplete",
                    "ALLOCATION_AUTH={auth} also requires ALLOCATION_{name}",
                    {"auth": self.auth, "name": name.upper()},
                )
        return self
