"""What the soak of `make faults` looks at: growth is seen, and a fault in the middle is not taken for growth."""

import os
import random
import socket

import pytest

from faults.flatness import Bound, Series
from faults.usage import Usage

MEMORY = {"memory": Bound(1.1, 12.0)}


def complaints_of(values: list[float]) -> list[str]:
    series = Series(MEMORY)
    for value in values:
        series.add({"memory serve-0": value})
    return list(series.complaints())


def test_a_process_that_keeps_its_size_is_flat() -> None:
    chance = random.Random(1)

    assert complaints_of([150 + chance.uniform(-8, 8) for _ in range(40)]) == []


def test_a_leak_is_reported_with_its_sizes() -> None:
    assert complaints_of([150.0 + 2 * number for number in range(40)]) == [
        "memory serve-0 grew from 162.0 to 216.0, beyond 190.2"
    ]


def test_a_few_high_values_are_not_growth() -> None:
    assert complaints_of([150.0] * 30 + [900.0] * 4 + [150.0] * 6) == []


def test_too_few_values_are_a_complaint() -> None:
    assert complaints_of([150.0] * 8) == ["memory serve-0 was measured 8 times, less than 9"]


def test_a_measurement_without_a_bound_is_an_error() -> None:
    series = Series(MEMORY)
    series.add({"files serve-0": 10.0})

    with pytest.raises(KeyError):
        list(series.complaints())


def test_usage_counts_files_and_the_connections_to_the_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        before = Usage.of(os.getpid(), port)
        clients = [socket.create_connection(("127.0.0.1", port)) for _ in range(3)]
        after = Usage.of(os.getpid(), port)
        for client in clients:
            client.close()

    assert after.connections - before.connections == 3
    assert after.files - before.files >= 3
    assert after.megabytes > 5
