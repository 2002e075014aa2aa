"""Messages that could not be handled: the record with its bytes and headers, and the reason."""

from dataclasses import dataclass

from app.domain.commands import Command

Header = tuple[str, bytes | None]


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A record as it came, where it came from, and why it was given up.

    `consumer` is the consumer group that gave it up, `message_id` its CloudEvents id where that could be read,
    `timestamp` that of the record in milliseconds: a topic that was made anew gives its offsets again.
    """

    consumer: str
    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: tuple[Header, ...]
    reason: str
    message_id: str | None = None
    timestamp: int = 0


class KeepDeadLetter(Command):
    """Set a message aside, in the same transaction as the effects of those around it."""

    letter: DeadLetter
