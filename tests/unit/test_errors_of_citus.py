"""Errors that Citus reports for another server count as what they were there."""

import asyncpg
import pytest

from app.adapters.postgresql.errors import is_local, is_transient, state_of

# As it came from Citus 14.0.1 at COMMIT when a worker crashed.
CLOSED = """server closed the connection unexpectedly
\tThis probably means the server terminated abnormally
\tbefore or while processing the request.
invalid socket"""


@pytest.mark.parametrize(
    ("message", "state", "is_of_rows"),
    [
        ("failure on connection marked as essential: node-1:5432", "08006", False),
        ("failed to prepare transaction 'citus_0_1_2_3' on host node-1:5432", "08006", False),
        (CLOSED, "08006", False),
        ("could not receive data from server: Connection reset by peer", "08006", False),
        ("could not send data to server: Broken pipe\ninvalid socket", "08006", False),
        ("connection not open", "08006", False),
        ("no connection to the server", "08006", False),
        ("SSL connection has been closed unexpectedly", "08006", False),
        ("SSL SYSCALL error: EOF detected", "08006", False),
        ('duplicate key value violates unique constraint "uq_events_of_product_102041"', "23505", True),
    ],
)
def test_a_fault_of_another_server_is_transient(message: str, state: str, is_of_rows: bool) -> None:
    error = asyncpg.InternalServerError(message)

    assert state_of(error) == state
    assert is_transient(error)
    assert is_local(error) == is_of_rows


def test_another_internal_error_is_not_repeated() -> None:
    assert not is_transient(asyncpg.InternalServerError("cache lookup failed for type 12345"))
