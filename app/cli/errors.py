"""The messages of the command line for expected errors."""

import traceback

_BROKER = ("aiokafka.", "app.adapters.kafka.")


def explain(error: Exception) -> tuple[str, int] | None:
    """The message for the error and the exit status; None for an unexpected error."""
    from app.embedded.errors import EmbeddedStackError

    if isinstance(error, EmbeddedStackError):
        return str(error), 2

    from aiokafka.errors import KafkaError

    from app.adapters.identity.api_keys import ApiKeyFileError
    from app.adapters.postgresql.schema import MigrationsMissingError, WrongNumberOfCellsError
    from app.adapters.postgresql.unavailable import DatabaseUnavailableError, Reason
    from app.adapters.tls import TlsFilesError
    from app.entrypoints.listening import AddressInUseError
    from app.private_names import PrivateNameMissingError
    from app.service_layer.ports import TemporarilyUnavailableError

    match error:
        case ApiKeyFileError() | AddressInUseError() | MigrationsMissingError() | TlsFilesError():
            explanation = str(error), 2
        case WrongNumberOfCellsError():
            explanation = str(error), 2
        case PrivateNameMissingError():
            explanation = str(error), 2
        case PermissionError() | FileNotFoundError() | NotADirectoryError():
            explanation = str(error), 2
        case _ if isinstance(error, KafkaError) or (isinstance(error, OSError) and _came_through(error, _BROKER)):
            explanation = f"the broker does not answer: {error!r}; see ALLOCATION_KAFKA_BOOTSTRAP_SERVERS", 1
        # An error of this machine, for example a full disk.
        case OSError():
            explanation = _first_line(error), 1
        case DatabaseUnavailableError(reason=Reason.NO_SCHEMA):
            explanation = "the database has no schema yet; run: allocation migrate", 1
        case TemporarilyUnavailableError():
            explanation = f"{error}; see ALLOCATION_DATABASE_URL", 1
        case _:
            return None
    return explanation


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0] or repr(error)


def _came_through(error: BaseException | None, packages: tuple[str, ...]) -> bool:
    """Whether the traceback has a frame of one of the packages, which shows whose connection failed."""
    while error is not None:
        frames = traceback.walk_tb(error.__traceback__)
        if any(frame.f_globals.get("__name__", "").startswith(packages) for frame, _ in frames):
            return True
        # A timeout has the frames of the package in its cause.
        error = error.__cause__
    return False
