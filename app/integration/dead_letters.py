"""Dead letters: records that could not be handled, with the reason."""

import hashlib
from dataclasses import dataclass

from app.domain.commands import Command

Header = tuple[str, bytes | None]

_TRACE_HEADERS = frozenset({"traceparent", "tracestate"})


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """An unmodified record, its place in the topic, and the reason why it was set aside.

    `consumer` is the consumer group, `message_id` the CloudEvents id if it could be read. `timestamp` is that of the
    record in milliseconds: it distinguishes records with the same offset after a topic was recreated.
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
        """A digest of the value and the headers: a message that is sent several times is kept once.

        The order of the headers does not count, and neither does the trace, which differs for each delivery.
        """
        headers = sorted((name.lower(), value or b"", value is None) for name, value in self.headers)
        kept = [header for header in headers if header[0] not in _TRACE_HEADERS]
        return hashlib.blake2b(repr((self.value, kept)).encode(), digest_size=16).digest()


class KeepDeadLetter(Command):
    """Keep a dead letter, in the same transaction as the effects of the records around it."""

    letter: DeadLetter
