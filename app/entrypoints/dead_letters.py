"""Looks after the dead letters: shows them, and hands those that were mended to the bus again."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from app.adapters.dead_letters import DeadLetterStore, KeptLetter
from app.bootstrap import Service
from app.domain.errors import DomainError
from app.entrypoints.consumer import to_request
from app.integration.cloudevents import UnreadableMessageError
from app.service_layer.ports import TemporarilyUnavailableError


@dataclass(frozen=True, slots=True)
class Report:
    """What became of a letter, in one line."""

    letter_id: int
    line: str
    restored: bool


async def lines(service: Service) -> AsyncIterator[str]:
    """A line for each letter, oldest first."""
    async for kept in _letters(service, ()):
        letter = kept.letter
        yield " ".join(
            (
                str(kept.id),
                kept.created_at.isoformat(timespec="seconds"),
                f"{letter.topic}[{letter.partition}]@{letter.offset}",
                f"id={letter.message_id or '-'}",
                f"attempts={kept.attempts}",
                " ".join(letter.reason.split()),
            )
        )


async def retry(service: Service, ids: Sequence[int]) -> AsyncIterator[Report]:
    """Handle the letters with the ids, or all, again; each that takes effect or is answered leaves the box.

    A letter leaves the box after its effect has committed. A crash in between is harmless: the inbox knows its message.
    """
    store = DeadLetterStore(service.engine)
    async for kept in _letters(service, ids):
        try:
            request = to_request(kept.letter.headers, kept.letter.value)
        except UnreadableMessageError as error:
            await store.keep_failing(kept.id, str(error))
            yield Report(kept.id, f"{kept.id} still unreadable: {error}", restored=False)
            continue
        (outcome,) = await service.bus.handle_group([request])
        if isinstance(outcome.error, TemporarilyUnavailableError):
            raise outcome.error
        if outcome.error is not None and not isinstance(outcome.error, DomainError):
            await store.keep_failing(kept.id, repr(outcome.error))
            yield Report(kept.id, f"{kept.id} failed again: {outcome.error!r}", restored=False)
            continue
        await store.discard(kept.id)
        yield Report(kept.id, f"{kept.id} restored: {outcome.error or outcome.label}", restored=True)


async def _letters(service: Service, ids: Sequence[int]) -> AsyncIterator[KeptLetter]:
    store = DeadLetterStore(service.engine)
    after = 0
    while page := await store.page(after, ids):
        for kept in page:
            yield kept
        after = page[-1].id
