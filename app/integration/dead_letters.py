"""Messages that could not be handled: the record with its bytes and headers, and the reason."""

import hashlib
from dataclasses import dataclass

from app.domain.commands import Command

Header = tuple[str, bytes | None]

_OF_THE_DELIVERY = frozenset({"traceparent", "tracestate"})


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

    @property
    def content(self) -> bytes:
        """A digest of the value and the headers, by which a message that was sent several times is kept once.

        The order of the headers does not count, nor does the trace that a delivery belongs to.
        """
        headers = sorted((name.lower(), value or b"", value is None) for name, value in self.headers)
        kept = [header for header in headers if header[0] not in _OF_THE_DELIVERY]
        return hashlib.blake2b(repr((self.value, kept)).encode(), digest_size=16).digest()


class KeepDeadLetter(Command):
    """Set a message aside, in the same transaction as the effects of those around it."""

    letter: DeadLetter
