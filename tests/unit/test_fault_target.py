"""`make faults TARGET=...` sends its load to addresses of this machine only."""

import os
import socket
from collections.abc import Iterator

import pytest
from click.testing import CliRunner

from faults.__main__ import main
from faults.target import UnsuitableTargetError, installation

URL = "http://127.0.0.1:8000"
SETTINGS = {
    "ALLOCATION_DATABASE_URL": "postgresql+asyncpg://user:secret@127.0.0.1:5432/shop",
    "ALLOCATION_KAFKA_BOOTSTRAP_SERVERS": "localhost:9092",
}


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        yield server


def test_addresses_of_this_machine_are_accepted() -> None:
    where = installation(f"{URL}, http://localhost:8001/", SETTINGS)

    assert where.http_ports() == [8000, 8001]
    assert where.dsn == "postgresql://user:secret@127.0.0.1:5432/shop?target_session_attrs=primary"
    assert (where.inbound_topic, where.events_topic) == ("allocation.inbound.v1", "allocation.events.v1")


@pytest.mark.parametrize(
    "url",
    [
        "http://192.0.2.1:8000",
        "http://shop.example.com:8000",
        "http://127.0.0.1.example.com:8000",
        "http://127.0.0.1@192.0.2.1:8000",
        "https://127.0.0.1:8000",
        "http://127.0.0.1",
        "http://127.0.0.1:port",
        "http://127.0.0.1:8000/shop",
        f"{URL},http://192.0.2.1:8000",
        "",
    ],
)
def test_another_http_address_is_refused(url: str) -> None:
    with pytest.raises(UnsuitableTargetError):
        installation(url, SETTINGS)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+asyncpg://user:secret@192.0.2.1:5432/shop",
        "postgresql+asyncpg://user:secret@db.example.com/shop",
        "postgresql+asyncpg://user:secret@127.0.0.1:5432,192.0.2.1:5432/shop",
        "postgresql+asyncpg://user:secret@127.0.0.1/shop?host=192.0.2.1",
        "postgresql+asyncpg://user:secret@/shop",
        "",
    ],
)
def test_another_database_is_refused(url: str) -> None:
    with pytest.raises(UnsuitableTargetError) as error:
        installation(URL, SETTINGS | {"ALLOCATION_DATABASE_URL": url})

    assert "secret" not in str(error.value)


@pytest.mark.parametrize("servers", ["192.0.2.1:9092", "kafka.example.com:9092", "127.0.0.1:9092,192.0.2.1:9092", ""])
def test_another_broker_is_refused(servers: str) -> None:
    with pytest.raises(UnsuitableTargetError):
        installation(URL, SETTINGS | {"ALLOCATION_KAFKA_BOOTSTRAP_SERVERS": servers})


@pytest.mark.parametrize("setting", list(SETTINGS))
def test_nothing_is_sent_if_one_address_is_refused(setting: str, listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    here = {name: value.replace("5432", str(port)).replace("9092", str(port)) for name, value in SETTINGS.items()}
    elsewhere = here[setting].replace("127.0.0.1", "192.0.2.1").replace("localhost", "192.0.2.1")

    done = CliRunner().invoke(
        main, ["--target", f"http://127.0.0.1:{port}"], env={**os.environ, **here, setting: elsewhere}
    )

    assert done.exit_code == 2
    assert "at 192.0.2.1 is not on a loopback address of this machine" in done.output
    with pytest.raises(BlockingIOError):
        listener.accept()
