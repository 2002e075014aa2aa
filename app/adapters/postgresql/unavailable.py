"""The error that the adapter raises in place of the driver's errors while the database cannot do the work."""

from enum import Enum, auto

from app.service_layer.ports import TemporarilyUnavailableError


class Reason(Enum):
    """Why the database cannot be used, as far as an operator can act on it."""

    UNKNOWN_HOST = auto()
    CONNECTION_REFUSED = auto()
    NO_RESPONSE = auto()
    CONNECTION_LOST = auto()
    WRONG_SERVER = auto()
    """No server that was reached has the role that is needed, for example a primary that accepts writes."""
    INVALID_CREDENTIALS = auto()
    NO_DATABASE = auto()
    NO_SCHEMA = auto()
    OUT_OF_RESOURCES = auto()
    OTHER = auto()


class DatabaseUnavailableError(TemporarilyUnavailableError):
    """The database did not respond, or refused the work for now. The driver's error is the `__cause__`.

    `detail` is the first line of the driver's message. It may name hosts and users, so it is for operators only.
    """

    def __init__(self, detail: str, reason: Reason, *, is_local: bool = False, timed_out: bool = False) -> None:
        super().__init__(f"the database is not available: {detail}", is_local=is_local, timed_out=timed_out)
        self.detail = detail
        self.reason = reason
