"""The message bus: the queue of commands in front of the dispatcher, and the workers that empty it.

A worker takes whatever is waiting, up to a limit, as one group, and never waits to fill a group: alone, a command runs
at once. The queue belongs to the worker and the unit of work to the group, so that groups can run side by side.
Commands that would keep others waiting run in side lanes.
"""

import asyncio
import logging
import time
import zlib
from collections.abc import Awaitable, Callable, Iterable, Sequence
from types import TracebackType
from typing import Any, Self

from app.cancellation import cancel
from app.domain.commands import Command
from app.observability import metrics
from app.service_layer.cells import ONE_CELL, CellMap
from app.service_layer.dispatcher import Dispatcher, NoHandlerError
from app.service_layer.idempotency import AnswerEncoder, IdempotencyKey
from app.service_layer.ports import Cause, CommandHandler, TemporarilyUnavailableError, UnitOfWorkFactory
from app.service_layer.queueing import CommandQueue, QueuedRequest, SideLanes
from app.service_layer.requests import Outcome, Request, RetryPolicy

__all__ = ["MessageBus", "NoHandlerError", "OverloadedError"]

log = logging.getLogger(__name__)

TOO_MANY = "too many commands are waiting"


class OverloadedError(Exception):
    """The queue is full. The command was not run; try again later."""


class MessageBus:
    """Runs commands in units of work, each shared by the commands that are waiting.

    `queue_limit` bounds how many commands wait in each queue, `group_limit` how many share one unit of work, `lanes`
    how many side lanes run at a time, and `drain_timeout` (seconds) how long the bus finishes what waits when it stops.
    Commands count with their places in the queue and with their size in the group; the one that reaches a limit may
    exceed it. Use the bus as an async context manager where `handle` is called; `handle_group` needs no worker.
    """

    def __init__(  # noqa: PLR0913 - the parts and limits of the bus
        self,
        unit_of_work: UnitOfWorkFactory,
        command_handlers: Iterable[tuple[type[Command], CommandHandler]],
        *,
        workers: int = 1,
        lanes: int = 4,
        queue_limit: int = 2048,
        group_limit: int = 256,
        retry: RetryPolicy | None = None,
        drain_timeout: float = 10.0,
        cells: CellMap = ONE_CELL,
    ) -> None:
        self._dispatcher = Dispatcher(unit_of_work, command_handlers, retry=retry, cells=cells)
        self._group_limit = group_limit
        self._drain_timeout = drain_timeout
        self._cells = cells
        # With several cells: a queue for each, and the last one for commands over cells.
        number = workers if cells.number == 1 else cells.number + 1
        self._queues = [CommandQueue(queue_limit) for _ in range(number)]
        self._permits = asyncio.Semaphore(workers)
        self._lanes = SideLanes(self._answer_apart, parallel=lanes, limit=queue_limit, group_limit=group_limit)
        self._workers: list[asyncio.Task[None]] = []
        self._accepting = False

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
        """Refuse new commands, finish the waiting ones, and stop; after `drain_timeout` give up on the rest."""
        self._accepting = False
        try:
            async with asyncio.timeout(self._drain_timeout):
                await asyncio.gather(*(queue.join() for queue in self._queues))
                await self._lanes.join()
        except TimeoutError:
            log.warning("commands were still waiting after %.0f s and are given up", self._drain_timeout)
        await cancel(self._workers)
        _give_up(await self._lanes.close())
        for queue in self._queues:
            while not queue.empty():
                _give_up([queue.get_nowait()])

    async def handle(
        self,
        command: Command,
        cause: Cause,
        key: IdempotencyKey | None = None,
        encode: AnswerEncoder | None = None,
        on_large: Callable[[], None] = lambda: None,
    ) -> Any:  # noqa: ANN401 - each command has a result type of its own
        """Run the command in the next group and return its result after the commit.

        With `key` and `encode` it returns the stored answer instead. See `Request` for `on_large`.

        Raises the DomainError that is its answer, OverloadedError where the queue is full,
        TemporarilyUnavailableError where the database did not answer in time, and whatever else the handler raised.
        If the caller stops waiting before the command has begun, the command is not run.
        """
        if not self._accepting:
            message = "the service is stopping"
            raise TemporarilyUnavailableError(message)
        answer = asyncio.get_running_loop().create_future()
        request = Request(command, cause, key=key, encode=encode, is_abandoned=answer.done, on_large=on_large)
        if not self._put(QueuedRequest(request, answer, time.perf_counter())):
            raise OverloadedError(TOO_MANY)
        return await answer

    def register(self, command_type: type[Command], handler: CommandHandler) -> None:
        """See `Dispatcher.register`."""
        self._dispatcher.register(command_type, handler)

    async def handle_group(self, group: Sequence[Request]) -> list[Outcome]:
        """See `Dispatcher.run`."""
        return await self._dispatcher.run(group)

    async def run_shared(self, group: Sequence[Request]) -> list[Outcome]:
        """See `Dispatcher.run_shared`."""
        return await self._dispatcher.run_shared(group)

    async def run_apart(self, group: Sequence[Request]) -> list[Outcome]:
        """See `Dispatcher.run_apart`."""
        return await self._dispatcher.run_apart(group)

    def _put(self, queued: QueuedRequest) -> bool:
        """Put the request into its queue; returns whether there was room."""
        key = queued.request.command.routing_key
        if key in self._lanes:
            return self._lanes.put(key, queued)
        try:
            self._queues[self._number_of_queue(queued.request.command)].put_nowait(queued)
        except asyncio.QueueFull:
            return False
        return True

    def _number_of_queue(self, command: Command) -> int:
        if self._cells.number > 1:
            return self._cells.of_command(command)  # OVER_CELLS is the number of the last queue.
        # Commands on one SKU go to one worker: two would only wait for each other's lock.
        return zlib.crc32(command.routing_key.encode()) % len(self._queues) if len(self._queues) > 1 else 0

    async def _work(self, queue: CommandQueue) -> None:
        """Run the waiting commands as one group, again and again. With several cells, `workers` queues at a time."""
        while True:
            taken = [await queue.get()]
            try:
                async with self._permits:
                    size = taken[0].request.command.size
                    while size < self._group_limit and not queue.empty():
                        taken.append(queue.get_nowait())
                        size += taken[-1].request.command.size
                    await self._answer(taken)
            except asyncio.CancelledError:
                _give_up(taken)
                raise
            finally:
                for _ in taken:
                    queue.task_done()

    async def _answer(self, taken: Sequence[QueuedRequest]) -> None:
        started = time.perf_counter()
        group = []
        for queued in taken:
            if queued.answer.done():
                continue
            key = queued.request.command.routing_key
            if key in self._lanes:
                # It was queued before its lane existed.
                self._defer(key, queued)
                continue
            metrics.queue_seconds.observe(started - queued.since)
            group.append(queued)
        if group:
            outcomes = await _run(self.run_shared, group)
            for queued, outcome in zip(group, outcomes, strict=True):
                if outcome.deferred and not queued.answer.done():
                    self._defer(outcome.deferred, queued)

    def _defer(self, key: str, queued: QueuedRequest) -> None:
        if not self._lanes.put(key, queued):
            queued.answer.set_exception(OverloadedError(TOO_MANY))

    async def _answer_apart(self, taken: Sequence[QueuedRequest]) -> None:
        group = [queued for queued in taken if not queued.answer.done()]
        if group:
            await _run(self.run_apart, group)


async def _run(
    run: Callable[[Sequence[Request]], Awaitable[list[Outcome]]], group: Sequence[QueuedRequest]
) -> list[Outcome]:
    """Run the requests, and answer those that have an outcome."""
    try:
        outcomes = await run([queued.request for queued in group])
    except BaseException:
        _give_up(group)
        raise
    for queued, outcome in zip(group, outcomes, strict=True):
        if outcome.deferred or queued.answer.done():
            continue  # Deferred: its lane answers it. Otherwise the caller has gone.
        if outcome.answer is not None:
            queued.answer.set_result(outcome.answer)
        elif outcome.error is not None:
            queued.answer.set_exception(outcome.error)
        else:
            queued.answer.set_result(outcome.result)
    return outcomes


def _give_up(group: Iterable[QueuedRequest]) -> None:
    """Fail the requests because the service is stopping. A request that has begun may still take effect."""
    for queued in group:
        if not queued.answer.done():
            queued.answer.set_exception(TemporarilyUnavailableError("the service is stopping"))
