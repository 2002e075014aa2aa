"""What the command line says about errors that are no fault of the program's."""

UNDEFINED_TABLE = "42P01"


def explain(error: Exception) -> tuple[str, int] | None:
    """What to say about the error, and the exit status; None where it is a fault of the program's."""
    from app.embedded.errors import EmbeddedStackError

    if isinstance(error, EmbeddedStackError):
        return str(error), 2

    from aiokafka.errors import KafkaError

    from app.adapters.api_keys import ApiKeyFileError
    from app.adapters.database import is_passing
    from app.adapters.tls import TlsFilesError
    from app.entrypoints.server import AddressInUseError
    from app.service_layer.ports import TemporarilyUnavailableError

    state = getattr(getattr(error, "orig", error), "sqlstate", None) or ""
    match error:
        case ApiKeyFileError() | AddressInUseError() | TlsFilesError():
            explanation = str(error), 2
        case PermissionError() | FileNotFoundError() | NotADirectoryError():
            explanation = str(error), 2
        case KafkaError():
            explanation = f"the broker does not answer: {error!r}; see ALLOCATION_KAFKA_BOOTSTRAP_SERVERS", 1
        case _ if state == UNDEFINED_TABLE:
            explanation = "the database has no schema yet; run: allocation migrate", 1
        case TemporarilyUnavailableError():
            explanation = f"{error}; see ALLOCATION_DATABASE_URL", 1
        case _ if state or is_passing(error):
            explanation = f"the database does not answer: {_first_line(error)}; see ALLOCATION_DATABASE_URL", 1
        case _:
            return None
    return explanation


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
