"""An error in one line, for operators."""


def first_line(error: Exception) -> str:
    """The first line of the driver's message, or the type of the error where the message is empty."""
    cause = getattr(error, "orig", None) or error
    return str(cause).partition("\n")[0] or type(cause).__name__
