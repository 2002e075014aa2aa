"""Shows, retries and discards dead letters."""

import base64
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from app.adapters.postgresql.dead_letters import DeadLetterStore, KeptLetter, Summary
from app.bootstrap import Service
from app.domain.errors import DomainError
from app.integration.cloudevents import UnreadableMessageError
from app.service_layer.inbox import to_request
from app.service_layer.ports import TemporarilyUnavailableError

_UNKNOWN_CONTENT = (
    "an earlier release received a message with this id and did not record its source and content; "
    "discard the letter if it is the same message"
)


@dataclass(frozen=True, slots=True)
class Report:
    """The result of a retry, in one line."""

    letter_id: int
    line: str
    restored: bool


async def summaries(service: Service, ids: Sequence[int] = ()) -> AsyncIterator[list[Summary]]:
    """Summaries of the letters with these ids, or of all, oldest first, in pages."""
    store = DeadLetterStore(service.cells.control)
    after = 0
    while page := await store.summaries(after, ids):
        yield page
        after = page[-1].id


async def letters(service: Service, ids: Sequence[int] = ()) -> AsyncIterator[KeptLetter]:
    """The letters with these ids, or all, oldest first."""
    store = DeadLetterStore(service.cells.control)
    after = 0
    while page := await store.page(after, ids):
        for kept in page:
            yield kept
        after = page[-1].id


def fields(kept: KeptLetter) -> Iterator[tuple[str, str]]:
    """A letter for people: names, and texts of one or more lines."""
    letter = kept.letter
    yield "number", str(kept.id)
    yield "since", kept.created_at.isoformat(timespec="seconds")
    yield "reason", letter.reason
    yield "attempts", f"{kept.attempts} by {letter.consumer}"
    yield "record", f"{letter.topic}[{letter.partition}]@{letter.offset}"
    yield "written", _timestamp(letter.timestamp)
    yield "id", letter.message_id or "-"
    yield "key", _readable(letter.key)
    yield "headers", "\n".join(["", *(f"{name}: {_readable(value)}" for name, value in letter.headers)])
    yield "value", f"{_size(letter.value)}\n{_readable(letter.value)}"


def as_json(kept: KeptLetter) -> dict[str, Any]:
    """A letter for programs. Bytes are `text` if they are UTF-8, else `base64`; null if there are none."""
    letter = kept.letter
    return {
        "number": kept.id,
        "since": kept.created_at.isoformat(),
        "reason": letter.reason,
        "attempts": kept.attempts,
        "consumer": letter.consumer,
        "topic": letter.topic,
        "partition": letter.partition,
        "offset": letter.offset,
        "timestamp": letter.timestamp,
        "id": letter.message_id,
        "key": _encoded(letter.key),
        "headers": [{"name": name, "value": _encoded(value)} for name, value in letter.headers],
        "value": _encoded(letter.value),
    }


async def discard(service: Service, ids: Sequence[int]) -> AsyncIterator[int]:
    """Delete the letters with these ids. Yields the ids of those that existed."""
    store = DeadLetterStore(service.cells.control)
    async for page in summaries(service, ids):
        for summary in page:
            await store.discard(summary.id)
            yield summary.id


async def retry(service: Service, ids: Sequence[int]) -> AsyncIterator[Report]:
    """Handle the letters with these ids, or all, again. Those that take effect or are refused are deleted.

    A letter is deleted after the commit of its effect. A crash in between is harmless: the inbox contains the message.
    """
    store = DeadLetterStore(service.cells.control)
    async for kept in letters(service, ids):
        try:
            request = to_request(kept.letter.headers, kept.letter.value, service.validation_context)
        except UnreadableMessageError as error:
            await store.keep_failing(kept.id, str(error))
            yield Report(kept.id, f"{kept.id} still unreadable: {error}", restored=False)
            continue
        (outcome,) = await service.bus.handle_group([request])
        if isinstance(outcome.error, TemporarilyUnavailableError):
            raise outcome.error
        if outcome.error is not None and not isinstance(outcome.error, DomainError):
            await store.keep_failing(kept.id, outcome.reason)
            yield Report(kept.id, f"{kept.id} failed again: {outcome.reason}", restored=False)
            continue
        if outcome.duplicate and (outcome.receipt is None or outcome.receipt.content is None):
            await store.keep_failing(kept.id, _UNKNOWN_CONTENT)
            yield Report(kept.id, f"{kept.id} failed again: {_UNKNOWN_CONTENT}", restored=False)
            continue
        await store.discard(kept.id)
        yield Report(kept.id, f"{kept.id} restored: {outcome.error or outcome.label}", restored=True)


def _readable(raw: bytes | None) -> str:
    """Bytes for people: text if they are UTF-8, else hexadecimal, 16 bytes a line."""
    if raw is None:
        return "none"
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return "\n".join(raw[start : start + 16].hex(" ") for start in range(0, len(raw), 16))


def _timestamp(milliseconds: int) -> str:
    """The timestamp of a record, for which producers may set any number."""
    try:
        return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="seconds")
    except (OverflowError, ValueError, OSError):
        return f"{milliseconds} ms"


def _size(raw: bytes | None) -> str:
    return "nothing" if raw is None else f"{len(raw)} bytes"


def _encoded(raw: bytes | None) -> dict[str, str] | None:
    if raw is None:
        return None
    try:
        return {"text": raw.decode()}
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(raw).decode()}
