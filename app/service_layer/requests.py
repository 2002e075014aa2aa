"""Requests to the bus, their outcomes, and the retry policy."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from app.domain.commands import Command
from app.domain.errors import DomainError
from app.integration.inbound import ReceivedMessage
from app.service_layer.idempotency import AnswerEncoder, IdempotencyKey, StoredAnswer
from app.service_layer.ports import Cause, MessageConflictError, Receipt, TemporarilyUnavailableError


def _never() -> bool:
    return False


def _nothing() -> None:
    pass


@dataclass(frozen=True, slots=True)
class Request:
    """A command and its cause. `message` identifies an inbound message, which takes effect once; None for others.

    With a `key`, a repeated request over HTTP gets the stored answer of the first one, which `encode` makes.
    `is_abandoned` says whether the caller has stopped waiting; a request that has not run by then is dropped.
    `on_large` is called when the request turns out to need a unit of work of its own, which has more time.
    """

    command: Command
    cause: Cause
    message: ReceivedMessage | None = None
    key: IdempotencyKey | None = None
    encode: AnswerEncoder | None = None
    is_abandoned: Callable[[], bool] = _never
    on_large: Callable[[], None] = _nothing

    @property
    def message_id(self) -> str | None:
        """The CloudEvents id of the message."""
        return None if self.message is None else self.message.id


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of a request: its result, or the error that is its answer.

    `duplicate` says that the message or the idempotency key was handled before; `receipt` is the record of the inbox.
    `answer` is what is stored, or was stored before, for a request with a key. `deferred` is set where the request has
    not run and is to run apart from others: it is the SKU, or another key, whose requests have to keep their order.
    """

    result: Any = None
    error: Exception | None = None
    duplicate: bool = False
    answer: StoredAnswer | None = None
    receipt: Receipt | None = None
    deferred: str = ""

    @property
    def label(self) -> str:
        """The outcome in a word: the code of a refusal, or what else it was."""
        if isinstance(self.error, DomainError):
            return self.error.code
        if isinstance(self.error, MessageConflictError):
            return "message-conflict"
        if self.error is not None:
            return "unavailable" if isinstance(self.error, TemporarilyUnavailableError) else "error"
        return "duplicate" if self.duplicate else "ok"

    @property
    def reason(self) -> str:
        """The error in a line for operators: its text where it was written for them, else all that it shows."""
        is_written_for_people = isinstance(self.error, DomainError | MessageConflictError)
        return str(self.error) if is_written_for_people else repr(self.error)

    def unwrap(self) -> Any:  # noqa: ANN401 - each command has a result type of its own
        """The result. Raises the error where there is one."""
        if self.error is not None:
            raise self.error
        return self.result


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often a group is tried again after a transient fault of the database, and how long it waits in between.

    No attempt begins after `patience` seconds: callers over HTTP have left a few seconds later. The waits double from
    `first_delay` up to `longest_delay` (seconds), each shortened at random so that competitors do not meet again.
    """

    attempts: int = 5
    patience: float = 5.0
    first_delay: float = 0.02
    longest_delay: float = 1.0
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep

    async def pause(self, attempt: int) -> None:
        """Wait before the attempt after the given one (the first is 1)."""
        longest: float = min(self.longest_delay, self.first_delay * 2 ** (attempt - 1))
        await self.sleep(longest * random.uniform(0.5, 1.0))  # noqa: S311 - jitter need not be secret
