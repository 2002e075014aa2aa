"""The message bus: one way in for every command, and one unit of work for whatever is waiting.

A commit costs the same for one command as for two hundred, and so does the lock of a popular product. So the bus groups
the commands that are waiting, and never waits to fill a group: alone, a command runs at once. Within a group commands
run one after another in the order of their arrival; a refusal is the answer to its own command and touches no other.
The queue and the unit of work belong to the group, never to the bus, so that groups can run side by side.
"""

import asyncio
import logging
import time
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

from app.domain.commands import Command, Names
from app.domain.errors import DomainError
from app.domain.events import Event
from app.observability import logging as observed
from app.observability import metrics, tracing
from app.service_layer.idempotency import IdempotencyKey
from app.service_layer.inbox import accept_messages
from app.service_layer.ports import (
    Cause,
    CommandHandler,
    EventHandler,
    TemporarilyUnavailableError,
    UnitOfWork,
    UnitOfWorkFactory,
)
from app.service_layer.queueing import CommandQueue, Waiting
from app.service_layer.requests import Outcome, Request, RetryPolicy

log = logging.getLogger(__name__)

EVENTS_AT_A_TIME = 500


class OverloadedError(Exception):
    """More commands are waiting than the bus takes. Nothing was done; try again in a moment."""


class NoHandlerError(Exception):
    """Nobody has registered a handler for this command."""


class MessageBus:
    """Runs commands, and the handlers of the events that they raise, in units of work.

    `queue_limit` bounds how many commands wait for each worker, `group_limit` how many share one unit of work, and
    `drain_timeout` (seconds) how long the bus finishes what waits when it stops. Commands count with their places in
    the queue and with their size in the group; the one that reaches a limit may exceed it. Use the bus as an async
    context manager where `handle` is called; `handle_group` needs no worker.
    """

    def __init__(
        self,
        unit_of_work: UnitOfWorkFactory,
        command_handlers: Iterable[tuple[type[Command], CommandHandler]],
        event_handlers: Mapping[type[Event], Sequence[EventHandler]],
        *,
        workers: int = 1,
        queue_limit: int = 2048,
        group_limit: int = 256,
        retry: RetryPolicy | None = None,
        drain_timeout: float = 10.0,
    ) -> None:
        self._unit_of_work = unit_of_work
        self._command_handlers: dict[type[Command], CommandHandler] = {}
        for command_type, handler in command_handlers:
            self.register(command_type, handler)
        self._event_handlers = event_handlers
        self._group_limit = group_limit
        self._retry = retry or RetryPolicy()
        self._drain_timeout = drain_timeout
        self._queues = [CommandQueue(queue_limit) for _ in range(workers)]
        self._workers: list[asyncio.Task[None]] = []
        self._accepting = False

    def register(self, command_type: type[Command], handler: CommandHandler) -> None:
        """Give a command its handler. Raises ValueError where it has one already."""
        if command_type in self._command_handlers:
            message = f"{command_type.__name__} has a handler already: a command is handled once"
            raise ValueError(message)
        self._command_handlers[command_type] = handler
        metrics.expect_command(command_type.__name__)

    async def __aenter__(self) -> Self:
        """Start to take commands."""
        self._accepting = True
        self._workers = [
            asyncio.create_task(self._work(queue), name=f"bus-worker-{number}")
            for number, queue in enumerate(self._queues)
        ]
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Refuse new commands, finish those that wait, and stop; give up on what takes too long."""
        self._accepting = False
        try:
            async with asyncio.timeout(self._drain_timeout):
                await asyncio.gather(*(queue.join() for queue in self._queues))
        except TimeoutError:
            log.warning("commands were still waiting after %.0f s and are given up", self._drain_timeout)
        for worker in self._workers:
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)
        for queue in self._queues:
            while not queue.empty():
                _give_up([queue.get_nowait()])

    async def handle(self, command: Command, cause: Cause, key: IdempotencyKey | None = None) -> Any:  # noqa: ANN401
        """Run the command in the next group and return its result, or with a key the stored answer, after the commit.

        Raises the DomainError that is its answer, OverloadedError where the queue is full,
        TemporarilyUnavailableError where the database did not answer in time, and whatever else the handler raised.
        A caller that stops waiting leaves a command that has not begun undone.
        """
        if not self._accepting:
            message = "the service is stopping"
            raise TemporarilyUnavailableError(message)
        waiting = Waiting(
            Request(command, cause, key=key), asyncio.get_running_loop().create_future(), time.perf_counter()
        )
        try:
            self._queue_of(command).put_nowait(waiting)
        except asyncio.QueueFull:
            message = "too many commands are waiting"
            raise OverloadedError(message) from None
        return await waiting.answer

    async def handle_group(self, group: Sequence[Request]) -> list[Outcome]:
        """Run the requests in one unit of work, in their order, and return what became of each.

        Where one fails unexpectedly the group is rolled back and its requests run one by one, so that it fails alone.
        """
        # What is logged about several requests belongs to none of them.
        observed.bind(*((group[0].cause, group[0].message_id) if len(group) == 1 else (None,)))
        try:
            return await self._run_with_retries(group)
        except TemporarilyUnavailableError as error:
            return _counted(group, [Outcome(error=error)] * len(group))
        except Exception as error:
            if len(group) == 1:
                log.exception("%s failed", type(group[0].command).__name__)
                return _counted(group, [Outcome(error=error)])
            log.warning("a group of %d failed (%r); running its commands one by one", len(group), error)
        return await self._run_one_by_one(group)

    async def _run_one_by_one(self, group: Sequence[Request]) -> list[Outcome]:
        outcomes: list[Outcome] = []
        for request in group:
            outcomes += await self.handle_group([request])
            if isinstance(outcomes[-1].error, TemporarilyUnavailableError):
                # The others would wait just as long, one after another, for the same answer.
                outcomes += [outcomes[-1]] * (len(group) - len(outcomes))
                break
        return outcomes

    async def _run_with_retries(self, group: Sequence[Request]) -> list[Outcome]:
        attempt = 1
        while True:
            try:
                with tracing.unit_of_work(request.cause.traceparent for request in group):
                    return await self._run(group)
            except TemporarilyUnavailableError as error:
                if attempt >= self._retry.attempts:
                    raise
                log.info("attempt %d of a group of %d: %s", attempt, len(group), error)
                metrics.group_retries.inc()
            await self._retry.pause(attempt)
            attempt += 1

    async def _run(self, group: Sequence[Request]) -> list[Outcome]:
        """One unit of work: lock what the group names, run its handlers, write the differences, commit."""
        async with self._unit_of_work() as uow:
            settled = await _settle(group, uow)
            names = Names.of(
                request.command for request, outcome in zip(group, settled, strict=True) if outcome is None
            )
            if names.orders:
                await uow.orders.load(names)
            await uow.products.load(names)
            outcomes = [
                outcome or await self._run_request(request, uow)
                for request, outcome in zip(group, settled, strict=True)
            ]
            await uow.commit()
        metrics.group_size.observe(len(group))
        return _counted(group, outcomes)

    async def _run_request(self, request: Request, uow: UnitOfWork) -> Outcome:
        """Run the handler; store the answer where the request bears a key, unless one before it in the group has."""
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
        handler = self._command_handlers.get(type(request.command))
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
        while raised := uow.take_events():
            for number, event in enumerate(raised, start=1):
                if number % EVENTS_AT_A_TIME == 0:
                    # A command may raise thousands of events. Others must not wait for all of them.
                    await asyncio.sleep(0)
                for react in self._event_handlers.get(type(event), ()):
                    await react(event, uow)
        return outcome

    async def _work(self, queue: CommandQueue) -> None:
        """Take whatever waits, run it as one group, answer; for ever."""
        while True:
            taken = [await queue.get()]
            size = taken[0].request.command.size
            while size < self._group_limit and not queue.empty():
                taken.append(queue.get_nowait())
                size += taken[-1].request.command.size
            group = [waiting for waiting in taken if not waiting.answer.done()]
            try:
                if group:
                    await self._answer(group)
            finally:
                for _ in taken:
                    queue.task_done()

    async def _answer(self, group: Sequence[Waiting]) -> None:
        started = time.perf_counter()
        for waiting in group:
            metrics.queue_seconds.observe(started - waiting.since)
        try:
            outcomes = await self.handle_group([waiting.request for waiting in group])
        except BaseException:
            _give_up(group)
            raise
        for waiting, outcome in zip(group, outcomes, strict=True):
            if waiting.answer.done():
                continue  # The caller has gone. What it asked for is done all the same, once.
            if outcome.answer is not None:
                waiting.answer.set_result(outcome.answer)
            elif outcome.error is not None:
                waiting.answer.set_exception(outcome.error)
            else:
                waiting.answer.set_result(outcome.result)

    def _queue_of(self, command: Command) -> CommandQueue:
        """Commands on one SKU go to one worker: two would only wait for each other's lock."""
        if len(self._queues) == 1:
            return self._queues[0]
        return self._queues[zlib.crc32(command.routing_key.encode()) % len(self._queues)]


def _counted(group: Sequence[Request], outcomes: list[Outcome]) -> list[Outcome]:
    for request, outcome in zip(group, outcomes, strict=True):
        metrics.count_command(type(request.command).__name__, outcome.label)
    return outcomes


def _give_up(group: Sequence[Waiting]) -> None:
    """Tell callers that nobody will answer any more; what was begun may or may not take effect."""
    for waiting in group:
        if not waiting.answer.done():
            waiting.answer.set_exception(TemporarilyUnavailableError("the service is stopping"))


async def _settle(group: Sequence[Request], uow: UnitOfWork) -> list[Outcome | None]:
    """The outcomes that are known before anything is locked: of messages and keys that were seen before."""
    repeated = await accept_messages(group, uow)
    keys = [request.key for request in group if request.key is not None]
    if keys:
        await uow.answers.load(keys)
    return [outcome or _find_answer(request.key, uow) for request, outcome in zip(group, repeated, strict=True)]


def _find_answer(key: IdempotencyKey | None, uow: UnitOfWork) -> Outcome | None:
    if key is None:
        return None
    try:
        answer = uow.answers.find(key)
    except DomainError as refusal:
        return Outcome(error=refusal)
    return None if answer is None else Outcome(duplicate=True, answer=answer)
