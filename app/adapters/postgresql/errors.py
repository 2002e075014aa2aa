"""What the errors of asyncpg, SQLAlchemy and the server mean. No other module reads SQLSTATE codes.

Source: https://www.postgresql.org/docs/18/errcodes-appendix.html
"""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg
from sqlalchemy.exc import DBAPIError, InterfaceError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from app.adapters.postgresql.unavailable import DatabaseUnavailableError, Reason

_READ_ONLY = "25006"
_UNDEFINED_TABLE = "42P01"

_TRANSIENT_CLASSES = (
    "08",  # connection exception
    "28",  # the password is being changed
    "3D",  # the database is being created
    "40",  # serialization failure, deadlock
    "42",  # missing table or privilege: a migration is due; it never depends on the request
    "53",  # insufficient resources: connections, memory, disk
    "57",  # operator intervention: shutdown, statement timeout
    "58",  # system error
)
_TRANSIENT_STATES = (
    "0A000",  # a prepared statement met a table that a migration has changed
    "23505",  # two transactions recorded one new batch: the second attempt sees the first batch
    _READ_ONLY,  # a failover is under way
    "25P02",  # an earlier statement of the transaction failed: a second attempt shows the reason
    "25P03",  # idle in a transaction: this process was suspended for a while
    "25P04",  # transaction timeout: this process was suspended for a while
    "55P03",  # lock timeout
)

# What Citus reports as an internal error: errors that have a state on another server, and the loss of the connection to
# it, for which libpq has messages only (fe-misc.c, fe-secure.c; Citus passes them on in ReportResultError). They are
# recognized by their messages, because a true internal error of one request must not be repeated without end.
_INTERNAL_ERROR = "XX000"
_STATES_OF_MESSAGES = {
    "failure on connection marked as essential": "08006",
    "failed to prepare transaction": "08006",
    "server closed the connection unexpectedly": "08006",
    "could not receive data from server": "08006",
    "could not send data to server": "08006",
    "connection not open": "08006",
    "no connection to the server": "08006",
    "SSL connection has been closed unexpectedly": "08006",
    "SSL SYSCALL error": "08006",
    "duplicate key value violates unique constraint": "23505",
}

# Statement timeout and transaction timeout.
_TIME_LIMITS = frozenset({"57014", "25P04"})
_LOCAL_STATES = _TIME_LIMITS | {"23505", "40001", "40P01", "55P03"}

# After one of these the session cannot do the work that it is needed for, whatever is sent next.
_DISCONNECTS = (
    "08",  # connection exception
    _READ_ONLY,  # the server is a standby, or was made read-only
    "25P02",  # the transaction failed before, and that error was not seen
    "25P03",  # the server ended the session, which was idle within a transaction
    "57P",  # the server stops, crashes or starts
)

# asyncpg's own errors for a connection that is lost, or was lost while it was in the pool.
_LOST_CONNECTION = asyncpg.InterfaceError | asyncpg.InternalClientError


class WrongServerError(ConnectionError):
    """A server was reached, and no server that was reached has the role that is needed.

    During a failover this lasts until the new primary is promoted, or until a name leads to it.
    """


def is_transient(error: BaseException) -> bool:
    """Whether the same work may succeed soon: the database is away, busy, or requests another attempt."""
    if isinstance(error, OSError | asyncio.TimeoutError | PoolTimeoutError | _LOST_CONNECTION):
        return True
    if isinstance(error, DBAPIError) and (error.connection_invalidated or isinstance(error, InterfaceError)):
        return True
    state = state_of(error)
    return state.startswith(_TRANSIENT_CLASSES) or state in _TRANSIENT_STATES


def is_lost(error: BaseException) -> bool:
    """Whether the connection was lost, for a reason that the driver does not know."""
    if isinstance(error, TimeoutError):
        return False  # The network is silent: the server would have ended the statement earlier.
    return isinstance(_cause_of(error), OSError | _LOST_CONNECTION) or state_of(error) == "08003"


def is_local(error: BaseException) -> bool:
    """Whether the fault concerns some rows only: a lock, a unique value, or more work than the time limits allow."""
    return state_of(error) in _LOCAL_STATES


def timed_out(error: BaseException) -> bool:
    """Whether the server stopped a statement or a transaction at its time limit."""
    return state_of(error) in _TIME_LIMITS


def is_disconnect(error: BaseException | None) -> bool:
    """Whether the connection has to be replaced: it is lost, silent, or leads to a server that refuses writes."""
    return isinstance(error, TimeoutError) or (error is not None and state_of(error).startswith(_DISCONNECTS))


def is_read_only(error: BaseException | None) -> bool:
    """Whether the server refused a write because it is a standby, or was made read-only."""
    return error is not None and state_of(error) == _READ_ONLY


def is_undefined_table(error: BaseException) -> bool:
    """Whether the statement names a table that does not exist."""
    return state_of(error) == _UNDEFINED_TABLE


def state_of(error: BaseException) -> str:
    """The SQLSTATE code of the error; empty for an error that did not come from the server."""
    cause = _cause_of(error)
    state = getattr(cause, "sqlstate", None) or ""
    if state == _INTERNAL_ERROR:
        return next((known for text, known in _STATES_OF_MESSAGES.items() if str(cause).startswith(text)), state)
    return state


def translate(error: Exception, *, has_timed_out: bool = False) -> Exception:
    """The error in the terms of the service layer: DatabaseUnavailableError, or the error itself.

    `has_timed_out` overrides what the driver reports: it may show a time limit of the server as a lost connection.
    """
    if not is_transient(error):
        return error
    return DatabaseUnavailableError(
        str(_cause_of(error)).partition("\n")[0] or type(_cause_of(error)).__name__,
        _reason_of(error),
        is_local=is_local(error),
        timed_out=has_timed_out or timed_out(error),
    )


@contextmanager
def translated() -> Iterator[None]:
    """Raise DatabaseUnavailableError in place of a transient error of the block."""
    try:
        yield
    except Exception as error:
        translation = translate(error)
        if translation is error:
            raise
        raise translation from error


def _cause_of(error: BaseException) -> BaseException:
    """The driver's error inside SQLAlchemy's."""
    return getattr(error, "orig", None) or error


def _reason_of(error: Exception) -> Reason:
    state = state_of(error)
    match _cause_of(error):
        case socket.gaierror():
            return Reason.UNKNOWN_HOST
        case WrongServerError():
            return Reason.WRONG_SERVER
        case ConnectionRefusedError():
            return Reason.CONNECTION_REFUSED
        case TimeoutError():
            return Reason.NO_RESPONSE
        case _ if is_lost(error) or is_disconnect(error) or getattr(error, "connection_invalidated", False):
            return Reason.CONNECTION_LOST
        case _:
            pass
    reasons = {
        "28": Reason.INVALID_CREDENTIALS,
        "3D": Reason.NO_DATABASE,
        "53": Reason.OUT_OF_RESOURCES,
    }
    return Reason.NO_SCHEMA if state == _UNDEFINED_TABLE else reasons.get(state[:2], Reason.OTHER)
