"""Runs groups of requests in units of work.

The cost of a commit, and of the lock of a popular product, does not depend on the number of commands, so requests share
a unit of work. The requests of a group run one after another in the order of their arrival; a refusal is the answer to
its own command and does not affect others. A fault of one request does not affect the others either: the group runs
again without it, or in parts.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from app.domain.commands import Command
from app.domain.errors import DomainError
from app.observability import logging as observed
from app.observability import metrics
from app.service_layer.cells import ONE_CELL, CellMap
from app.service_layer.group_run import GroupRun, find_answer
from app.service_layer.ports import (
    CommandHandler,
    UnitOfWork,
    UnitOfWorkFactory,
)
from app.service_layer.requests import Outcome, Request, RetryPolicy


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
        cells: CellMap = ONE_CELL,
    ) -> None:
        self.unit_of_work = unit_of_work
        self.cells = cells
        self.retry = retry or RetryPolicy()
        self._handlers: dict[type[Command], CommandHandler] = {}
        for command_type, handler in command_handlers:
            self.register(command_type, handler)

    def register(self, command_type: type[Command], handler: CommandHandler) -> None:
        """Register the handler of a command. Raises ValueError where it has one already."""
        if command_type in self._handlers:
            message = f"{command_type.__name__} has a handler already: a command is handled once"
            raise ValueError(message)
        self._handlers[command_type] = handler
        metrics.initialize_command(command_type.__name__)

    async def run(self, group: Sequence[Request]) -> list[Outcome]:
        """Run the requests in their order and return the outcome of each. This may wait for locks."""
        outcomes = await self.run_shared(group)
        deferred = [number for number, outcome in enumerate(outcomes) if outcome.deferred]
        if deferred:
            apart = await self.run_apart([group[number] for number in deferred])
            for number, outcome in zip(deferred, apart, strict=True):
                outcomes[number] = outcome
        return outcomes

    async def run_shared(self, group: Sequence[Request]) -> list[Outcome]:
        """Run the requests; none waits for a locked product or for a large request.

        The outcome is a deferral for a request whose product another transaction holds, that needs too much work, or
        that follows such a request on the same product: hand those to `run_apart`, in their order.
        """
        return _counted(group, await self._start(shared=True).run(group))

    async def run_apart(self, group: Sequence[Request]) -> list[Outcome]:
        """Run deferred requests. This waits for locks, and gives large requests more time."""
        return _counted(group, await self._start(shared=False).run(group))

    def _start(self, *, shared: bool) -> GroupRun:
        return GroupRun(self.unit_of_work, self.handle_request, self.retry, self.cells, shared=shared)

    async def handle_request(self, request: Request, uow: UnitOfWork) -> Outcome:
        """Run the handler; store the answer where the request has a key, unless one before it in the group did."""
        key = request.key
        if key is None or request.encode is None:
            return await self._handle(request, uow)
        answered = find_answer(key, uow)
        if answered is not None:
            return answered
        outcome = await self._handle(request, uow)
        refused = outcome.error if isinstance(outcome.error, DomainError) else None
        answer = request.encode(outcome.result, refused)
        uow.answers.keep(key, answer)
        return replace(outcome, answer=answer)

    async def _handle(self, request: Request, uow: UnitOfWork) -> Outcome:
        handler = self._handlers.get(type(request.command))
        if handler is None:
            raise NoHandlerError(type(request.command).__name__)
        uow.cause = request.cause
        uow.products.start_command()
        binding = observed.bind(request.cause, request.message_id)
        try:
            outcome = Outcome(await handler(request.command, uow))
        except DomainError as refusal:
            outcome = Outcome(error=refusal)
        finally:
            observed.unbind(binding)
        uow.collect_events()
        return outcome


def _counted(group: Sequence[Request], outcomes: list[Outcome]) -> list[Outcome]:
    for request, outcome in zip(group, outcomes, strict=True):
        if not outcome.deferred:
            metrics.count_command(type(request.command).__name__, outcome.label)
    return outcomes
