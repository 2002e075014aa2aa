"""Runs groups of requests in units of work.

A commit costs the same for one command as for two hundred, and so does the lock of a popular product, so requests share
a unit of work. Within a group they run one after another in the order of their arrival; a refusal is the answer to its
own command and touches no other. A fault that concerns one request must not reach the others: the group is run again
without it, or in parts.
"""

import itertools
import logging
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace

from app.domain.commands import Command, Names
from app.domain.errors import DomainError
from app.integration.inbound import ReceivedMessage
from app.observability import logging as observed
from app.observability import metrics, tracing
from app.service_layer.idempotency import IdempotencyKey
from app.service_layer.inbox import accept_messages
from app.service_layer.ports import (
    CommandHandler,
    TemporarilyUnavailableError,
    TooLargeToShareError,
    UnitOfWork,
    UnitOfWorkFactory,
)
from app.service_layer.requests import DEFERRED, Outcome, Request, RetryPolicy

log = logging.getLogger(__name__)

MAX_EVENTS = 5000
"""A unit of work that publishes more than this ends; the rest of its group runs in the next one."""

QUICK = 1.0
"""Seconds. A fault of some rows that shows sooner is tried again with the whole group; one that took a wait is not."""


class NoHandlerError(Exception):
    """The command has no handler."""


class Dispatcher:
    """Runs requests through the handlers of their commands."""

    def __init__(
        self,
        unit_of_work: UnitOfWorkFactory,
        command_handlers: Iterable[tuple[type[Command], CommandHandler]],
        *,
        retry: RetryPolicy | None = None,
    ) -> None:
        self.unit_of_work = unit_of_work
        self.retry = retry or RetryPolicy()
        self._handlers: dict[type[Command], CommandHandler] = {}
        for command_type, handler in command_handlers:
            self.register(command_type, handler)

    def register(self, command_type: type[Command], handler: CommandHandler) -> None:
        """Give a command its handler. Raises ValueError where it has one already."""
        if command_type in self._handlers:
            message = f"{command_type.__name__} has a handler already: a command is handled once"
            raise ValueError(message)
        self._handlers[command_type] = handler
        metrics.expect_command(command_type.__name__)

    async def run(self, group: Sequence[Request]) -> list[Outcome]:
        """Run the requests, in their order, and return the outcome of each. It may wait for locks."""
        outcomes = await self.run_shared(group)
        deferred = [number for number, outcome in enumerate(outcomes) if outcome.deferred]
        if deferred:
            apart = await self.run_apart([group[number] for number in deferred])
            for number, outcome in zip(deferred, apart, strict=True):
                outcomes[number] = outcome
        return outcomes

    async def run_shared(self, group: Sequence[Request]) -> list[Outcome]:
        """Run the requests without keeping any of them waiting for another.

        The outcome is `DEFERRED` for a request whose product another transaction holds, that needs too much work, or
        that follows such a request on the same product: hand those to `run_apart`, in their order.
        """
        return _counted(group, await _Run(self, shared=True).run(group))

    async def run_apart(self, group: Sequence[Request]) -> list[Outcome]:
        """Run requests that were deferred. It waits for the locks of others, and gives large work more time."""
        return _counted(group, await _Run(self, shared=False).run(group))

    async def run_request(self, request: Request, uow: UnitOfWork) -> Outcome:
        """Run the handler; store the answer where the request has a key, unless one before it in the group did."""
        key = request.key
        if key is None:
            return await self._run_handler(request, uow)
        answered = _find_answer(key, uow)
        if answered is not None:
            return answered
        outcome = await self._run_handler(request, uow)
        refused = outcome.error if isinstance(outcome.error, DomainError) else None
        answer = key.render(outcome.result, refused)
        uow.answers.keep(key, answer)
        return replace(outcome, answer=answer)

    async def _run_handler(self, request: Request, uow: UnitOfWork) -> Outcome:
        handler = self._handlers.get(type(request.command))
        if handler is None:
            raise NoHandlerError(type(request.command).__name__)
        uow.cause = request.cause
        binding = observed.bind(request.cause, request.message_id)
        try:
            outcome = Outcome(await handler(request.command, uow))
        except DomainError as refusal:
            outcome = Outcome(error=refusal)
        finally:
            observed.unbind(binding)
        uow.publish_events()
        return outcome


class _Run:
    """One run of a group, in as many units of work as it takes.

    `_kept_out` has an outcome for each SKU whose requests must not run in this run any more, so that requests on one
    product keep their order.
    """

    def __init__(self, dispatcher: Dispatcher, *, shared: bool) -> None:
        self._dispatcher = dispatcher
        self._retry = dispatcher.retry
        self._shared = shared
        self._until = time.monotonic() + self._retry.patience
        self._kept_out: dict[str, Outcome] = {}
        self._kept_out_ids: dict[str, Outcome] = {}
        self._fault: TemporarilyUnavailableError | None = None

    async def run(self, group: Sequence[Request]) -> list[Outcome]:
        """The outcome of each request."""
        outcomes: list[Outcome] = []
        while len(outcomes) < len(group):
            outcomes += await self._run_first(group[len(outcomes) :])
        return outcomes

    async def _run_first(self, group: Sequence[Request]) -> list[Outcome]:
        """The outcomes of the first requests of the group: as many as a unit of work holds."""
        if self._fault is not None:
            # The others would wait just as long, one after another, for the same answer.
            return [Outcome(error=self._fault)] * len(group)
        # What is logged about several requests belongs to none of them.
        observed.bind(*((group[0].cause, group[0].message_id) if len(group) == 1 else (None,)))
        try:
            return await self._run_with_retries(group)
        except _LargeRequestError as error:
            self._keep_out(error.skus, DEFERRED)
            return []
        except TemporarilyUnavailableError as error:
            return await self._run_in_parts(group, error)
        except Exception as error:
            if len(group) == 1:
                log.exception("%s failed", type(group[0].command).__name__)
                return [Outcome(error=error)]
            log.warning("a group of %d failed (%r); running its commands one by one", len(group), error)
        return list(itertools.chain.from_iterable([await self.run([request]) for request in group]))

    async def _run_in_parts(self, group: Sequence[Request], error: TemporarilyUnavailableError) -> list[Outcome]:
        """The outcomes after a fault that lasted. Where it may concern some requests only, the others get through."""
        parts = _parts(group, error)
        if len(parts) > 1:
            metrics.group_splits.labels("time-limit" if error.took_too_long else "rows").inc()
            log.info("a group of %d is run in %d parts: %s", len(group), len(parts), error)
            outcomes = [DEFERRED] * len(group)
            for part in parts:
                for number, outcome in zip(part, await self.run([group[n] for n in part]), strict=True):
                    outcomes[number] = outcome
            return outcomes
        if not error.is_local:
            self._fault = error
            return [Outcome(error=error)] * len(group)
        outcome = DEFERRED if self._shared else Outcome(error=error)
        self._keep_out(Names.of(request.command for request in group).skus, outcome)
        return [outcome] * len(group)

    async def _run_with_retries(self, group: Sequence[Request]) -> list[Outcome]:
        for attempt in itertools.count(1):
            began = time.monotonic()
            try:
                with tracing.unit_of_work(request.cause.traceparent for request in group):
                    return await self._run(group)
            except TemporarilyUnavailableError as error:
                now = time.monotonic()
                is_slow = error.is_local and len(group) > 1 and (attempt > 1 or now - began > QUICK)
                if error.took_too_long or is_slow or attempt >= self._retry.attempts or now >= self._until:
                    raise
                log.info("attempt %d of a group of %d: %s", attempt, len(group), error)
                metrics.group_retries.inc()
            await self._retry.pause(attempt)
        raise AssertionError

    async def _run(self, group: Sequence[Request]) -> list[Outcome]:
        """One unit of work: lock what the group names, run its handlers, write the differences, commit.

        Returns the outcomes of the first requests: it ends early where it publishes more than `MAX_EVENTS`.
        """
        async with self._dispatcher.unit_of_work() as uow:
            settled = await _settle(group, uow)
            names = Names.of(
                request.command for request, outcome in zip(group, settled, strict=True) if outcome is None
            )
            if names.orders:
                await uow.orders.load(names)
            await uow.products.load(names, shared=self._shared)
            outcomes: list[Outcome] = []
            for request, known in zip(group, settled, strict=True):
                outcomes.append(
                    known or self._outcome_of_kept_out(request, uow) or await self._run_request(request, uow)
                )
                if uow.published > MAX_EVENTS:
                    break
            await _withdraw(group, settled, outcomes, uow)
            await uow.commit()
        metrics.group_size.observe(len(outcomes))
        return outcomes

    async def _run_request(self, request: Request, uow: UnitOfWork) -> Outcome:
        try:
            return await self._dispatcher.run_request(request, uow)
        except TooLargeToShareError:
            # It has changed products in memory, so the group is rolled back and run again without it.
            metrics.deferred_commands.labels("large").inc()
            raise _LargeRequestError(_skus_of(request.command, uow)) from None

    def _outcome_of_kept_out(self, request: Request, uow: UnitOfWork) -> Outcome | None:
        """The outcome of a request whose product must not be used; None where it may run."""
        locked = uow.products.locked_elsewhere
        if not locked and not self._kept_out:
            return None
        outcome = self._find_kept_out(request, uow, locked)
        if outcome is not None and request.message is not None:
            # The inbox finds a message of another source by the first one that has its id, so that waits as well.
            self._kept_out_ids[request.message.id] = outcome
        return outcome

    def _find_kept_out(self, request: Request, uow: UnitOfWork, locked: frozenset[str]) -> Outcome | None:
        if request.message is not None and request.message.id in self._kept_out_ids:
            return self._kept_out_ids[request.message.id]
        skus = _skus_of(request.command, uow)
        for sku in skus & locked:
            metrics.deferred_commands.labels("locked").inc()
            self._kept_out.setdefault(sku, DEFERRED)
        return next((self._kept_out[sku] for sku in sorted(skus) if sku in self._kept_out), None)

    def _keep_out(self, skus: Iterable[str], outcome: Outcome) -> None:
        for sku in skus:
            self._kept_out[sku] = outcome


class _LargeRequestError(Exception):
    """A request on these SKUs needs a unit of work of its own."""

    def __init__(self, skus: set[str]) -> None:
        super().__init__()
        self.skus = skus


def _parts(group: Sequence[Request], error: TemporarilyUnavailableError) -> list[list[int]]:
    """The parts to run by themselves after a fault, as positions in the group; one part where that is of no use."""
    everything = list(range(len(group)))
    if error.took_too_long and len(group) > 1:
        half = len(group) // 2
        return [everything[:half], everything[half:]]
    if not error.is_local:
        return [everything]
    parts: dict[str, list[int]] = {}
    for number, request in enumerate(group):
        parts.setdefault(request.command.routing_key, []).append(number)
    return list(parts.values())


def _skus_of(command: Command, uow: UnitOfWork) -> set[str]:
    """The SKUs of the products that the command works on, once the unit of work has resolved what it names."""
    names = Names.of([command])
    skus = set(names.skus)
    for ref in names.batch_refs:
        if (owner := uow.products.sku_of_batch(ref)) is not None:
            skus.add(owner)
    for order_id in names.orders:
        skus.update(uow.orders.skus(order_id))
    return skus


def _counted(group: Sequence[Request], outcomes: list[Outcome]) -> list[Outcome]:
    for request, outcome in zip(group, outcomes, strict=True):
        if not outcome.deferred:
            metrics.count_command(type(request.command).__name__, outcome.label)
    return outcomes


async def _settle(group: Sequence[Request], uow: UnitOfWork) -> list[Outcome | None]:
    """The outcomes that are known before anything is locked: of messages and keys that were seen before."""
    repeated = await accept_messages(group, uow)
    keys = [request.key for request in group if request.key is not None]
    if keys:
        await uow.answers.load(keys)
    return [outcome or _find_outcome(request, uow) for request, outcome in zip(group, repeated, strict=True)]


async def _withdraw(
    group: Sequence[Request], settled: Sequence[Outcome | None], outcomes: list[Outcome], uow: UnitOfWork
) -> None:
    """Leave the messages of those requests unaccepted that this unit of work does not handle."""
    unhandled: list[ReceivedMessage] = []
    for number, request in enumerate(group):
        message = request.message
        if message is None or settled[number] is not None:
            continue
        if number >= len(outcomes) or outcomes[number].deferred:
            unhandled.append(message)
    if unhandled:
        await uow.inbox.withdraw(unhandled)


def _find_outcome(request: Request, uow: UnitOfWork) -> Outcome | None:
    if request.is_abandoned():
        return Outcome(error=TemporarilyUnavailableError("the caller has stopped waiting"))
    return None if request.key is None else _find_answer(request.key, uow)


def _find_answer(key: IdempotencyKey, uow: UnitOfWork) -> Outcome | None:
    try:
        answer = uow.answers.find(key)
    except DomainError as refusal:
        return Outcome(error=refusal)
    return None if answer is None else Outcome(duplicate=True, answer=answer)
