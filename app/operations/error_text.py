"""An error in one line, for operators."""

from app.adapters.postgresql.unavailable import DatabaseUnavailableError


def first_line(error: Exception) -> str:
    """The first line of the driver's message, or the type of the error if the message is empty."""
    text = error.detail if isinstance(error, DatabaseUnavailableError) else str(error)
    return text.partition("\n")[0] or type(error).__name__
