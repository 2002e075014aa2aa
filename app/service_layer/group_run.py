"""Divides a group of requests into units of work, and repeats what failed."""

import itertools
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence

from app.domain.batches import StockNotReleasedError
from app.domain.commands import ExpireHolds
from app.domain.errors import DomainError
from app.integration.inbound import ReceivedMessage
from app.observability import logging as observed
from app.observability import metrics, tracing
from app.service_layer.cells import CellMap
from app.service_layer.idempotency import IdempotencyKey
from app.service_layer.inbox import accept_messages
from app.service_layer.lock_sets import LockSet
from app.service_layer.overdue_holds import AT_A_TIME, BESIDE_REQUESTS, end_overdue_holds
from app.service_layer.ports import TemporarilyUnavailableError, TooLargeToShareError, UnitOfWork, UnitOfWorkFactory
from app.service_layer.request_keys import Key, keys_of, parts_of
from app.service_layer.requests import Outcome, Request, RetryPolicy

log = logging.getLogger(__name__)

MAX_EVENTS = 5000
"""A unit of work that stores more events than this ends; the rest of its group runs in the next one."""

QUICK = 1.0
"""Seconds. After a fault of some rows, the whole group is tried once more if the fault came sooner."""


class GroupRun:
    """One run of a group, in as many units of work as it takes.

    `_kept_out` has an outcome for each product, batch, order and cart whose requests must not run any more in this run,
    so that requests on one of them keep their order.
    """

    def __init__(
        self,
        unit_of_work: UnitOfWorkFactory,
        handle_request: Callable[[Request, UnitOfWork], Awaitable[Outcome]],
        retry: RetryPolicy,
        cells: CellMap,
        *,
        shared: bool,
    ) -> None:
        self._unit_of_work = unit_of_work
        self._handle_request = handle_request
        self._retry = retry
        self._cells = cells
        self._shared = shared
        self._until = time.monotonic() + self._retry.patience
        self._kept_out: dict[Key, Outcome] = {}
        self._fault: TemporarilyUnavailableError | None = None
        """If set, no further request of this run is run."""
        self._loaded: UnitOfWork | None = None
        self._ends_all_holds = False

    async def run(self, group: Sequence[Request]) -> list[Outcome]:
        """The outcome of each request. Requests of different cells run in different units of work."""
        parts = self._cells.parts_of([request.command for request in group]) if self._cells.number > 1 else ()
        if len(parts) < 2:  # noqa: PLR2004 - one part is the group
            return await self._run_all(group)
        found: dict[int, Outcome] = {}
        for part in parts:
            found.update(zip(part, await self._run_all([group[position] for position in part]), strict=True))
        return [found[position] for position in range(len(group))]

    async def _run_all(self, group: Sequence[Request]) -> list[Outcome]:
        outcomes: list[Outcome] = []
        while len(outcomes) < len(group):
            outcomes += await self._run_first(group[len(outcomes) :])
        return outcomes

    async def _run_first(self, group: Sequence[Request]) -> list[Outcome]:
        """The outcomes of the first requests of the group: as many as a unit of work holds."""
        if self._fault is not None:
            return self._outcomes_of_fault(group, self._fault)
        # A log line about several requests has the context of none of them.
        observed.bind(*((group[0].cause, group[0].message_id) if len(group) == 1 else (None,)))
        try:
            return await self._run_with_retries(group)
        except _RepeatError as error:
            self._keep_out(error.keys, Outcome(deferred=error.sku))
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
        """The outcomes after a fault that lasted. A fault of some rows does not fail the other requests."""
        if not error.is_local:
            # The others would wait as long, one after another, for the same error.
            self._fault = error
            return self._outcomes_of_fault(group, error)
        parts = parts_of(group, error)
        if len(parts) > 1:
            metrics.group_splits.labels("time-limit" if error.timed_out else "rows").inc()
            log.info("a group of %d is run in %d parts: %s", len(group), len(parts), error)
            return list(itertools.chain.from_iterable([await self.run(part) for part in parts]))
        later = TemporarilyUnavailableError(
            "a request before this one, which may be on the same product, has not been handled"
        )
        for request in group:
            deferred = Outcome(deferred=request.command.routing_key or "-")
            self._keep_out(keys_of(request.command, self._loaded), deferred if self._shared else Outcome(error=later))
        locks = LockSet.of(request.command for request in group)
        if self._loaded is None and locks.has_unknown_products:
            # The rows were not read, so the products are not known. Any later request may be on one of them, and waits.
            self._fault = later
        if self._shared:
            return [Outcome(deferred=request.command.routing_key or "-") for request in group]
        return [Outcome(error=error)] * len(group)

    def _outcomes_of_fault(self, group: Sequence[Request], fault: TemporarilyUnavailableError) -> list[Outcome]:
        """The outcomes of requests that do not run: one that may be behind a deferred one is deferred as well."""
        if self._shared and self._kept_out:
            return [Outcome(deferred=request.command.routing_key or "-") for request in group]
        return [Outcome(error=fault)] * len(group)

    async def _run_with_retries(self, group: Sequence[Request]) -> list[Outcome]:
        for attempt in itertools.count(1):
            began = time.monotonic()
            self._loaded = None
            try:
                with tracing.unit_of_work(request.cause.traceparent for request in group):
                    return await self._run(group)
            except TemporarilyUnavailableError as error:
                now = time.monotonic()
                is_slow = error.is_local and len(group) > 1 and (attempt > 1 or now - began > QUICK)
                if error.timed_out or is_slow or attempt >= self._retry.attempts or now >= self._until:
                    raise
                log.info("attempt %d of a group of %d: %s", attempt, len(group), error)
                metrics.group_retries.inc()
            await self._retry.pause(attempt)
        raise AssertionError

    async def _run(self, group: Sequence[Request]) -> list[Outcome]:
        """One unit of work: lock what the group names, run its handlers, write the differences, commit.

        Returns the outcomes of the first requests: it ends early where it stores more than `MAX_EVENTS`.
        """
        kept_out = [self._outcome_of_kept_out(_keys_of(each)) if self._kept_out else None for each in group]
        running = [request for request, outcome in zip(group, kept_out, strict=True) if outcome is None]
        if not running:
            return [outcome for outcome in kept_out if outcome is not None]
        async with self._unit_of_work(self._cells.of_command(running[0].command)) as uow:
            settled = dict(zip(map(id, running), await _settle(running, uow), strict=True))
            locks = LockSet.of(request.command for request in running if settled[id(request)] is None)
            if locks.carts:
                await uow.carts.load(locks)
            if locks.orders:
                await uow.orders.load(locks)
            await uow.products.load(locks, shared=self._shared)
            self._loaded = uow
            overdue = await self._end_overdue_holds(running, uow)
            outcomes: list[Outcome] = []
            unhandled: list[ReceivedMessage] = []
            for request, early in zip(group, kept_out, strict=True):
                known = early or settled[id(request)]
                needs_end = known is None and self._needs_end(request, overdue, uow)
                if needs_end and not self._shared:
                    # It runs in the next unit of work, or in the one after that.
                    break
                late = None if known is not None else self._outcome_of_busy(request, overdue if needs_end else (), uow)
                if late is not None and request.message is not None:
                    unhandled.append(request.message)
                outcomes.append(known or late or await self._run_request(request, uow))
                if uow.event_count > MAX_EVENTS:
                    break
            rest = group[len(outcomes) :]
            unhandled += [each.message for each in rest if each.message and settled.get(id(each), self) is None]
            if unhandled:
                # They have been accepted with the others, and are not handled by this unit of work.
                await uow.inbox.withdraw(unhandled)
            await uow.commit()
        metrics.group_size.observe(len(outcomes))
        return outcomes

    async def _run_request(self, request: Request, uow: UnitOfWork) -> Outcome:
        try:
            return await self._handle_request(request, uow)
        except TooLargeToShareError as error:
            # It has changed products in memory, so the group is rolled back and runs again without it.
            metrics.deferred_commands.labels("large").inc()
            if not request.is_abandoned():
                request.on_large()
            raise _RepeatError(error.sku, keys_of(request.command, uow)) from None
        except StockNotReleasedError:
            # It has changed nothing, but others before it may have.
            if not self._shared:
                self._ends_all_holds = True
                raise _RepeatError from None
            metrics.deferred_commands.labels("holds").inc()
            raise _RepeatError(request.command.routing_key or "-", keys_of(request.command, uow)) from None

    async def _end_overdue_holds(self, running: Sequence[Request], uow: UnitOfWork) -> frozenset[str]:
        """End overdue holds. Returns the SKUs that still have some."""
        is_waited_for = self._shared and any(not isinstance(each.command, ExpireHolds) for each in running)
        try:
            return await end_overdue_holds(uow, limit=BESIDE_REQUESTS if is_waited_for else AT_A_TIME)
        except TooLargeToShareError as error:
            # Requests that name only a batch or an order of the product have to wait as well.
            keys = [keys_of(request.command, uow) for request in running]
            waiting = [each for each in keys if ("sku", error.sku) in each]
            raise _RepeatError(error.sku, set().union(*waiting)) from None

    def _needs_end(self, request: Request, overdue: frozenset[str], uow: UnitOfWork) -> bool:
        """Whether the request waits until all overdue holds of its products have ended. `overdue` SKUs still have some.

        Stock that is released later belongs to a waiting line first, so a request on a product with a queue waits.
        """
        if not overdue:
            return False
        skus = [name for kind, name in keys_of(request.command, uow) if kind == "sku" and name in overdue]
        if self._ends_all_holds or request.command.needs_all_holds_ended:
            return bool(skus)
        products = (uow.products.get(sku) for sku in skus)
        return any(product is not None and product.backordered_qty for product in products)

    def _outcome_of_busy(self, request: Request, overdue: Iterable[str], uow: UnitOfWork) -> Outcome | None:
        """The outcome of a request that may not run now, or that is behind one; None: it may run.

        Another transaction holds its product, or it waits until all holds of the `overdue` products have ended.
        """
        busy = uow.products.locked_elsewhere.union(overdue)
        if not busy and not self._kept_out:
            return None
        keys = _keys_of(request, uow)
        sku = next((name for kind, name in sorted(keys) if kind == "sku" and name in busy), None)
        if sku is not None and self._find_kept_out(keys) is None:
            metrics.deferred_commands.labels("holds" if sku in overdue else "locked").inc()
            self._keep_out(keys, Outcome(deferred=sku))
        return self._outcome_of_kept_out(keys)

    def _outcome_of_kept_out(self, keys: Iterable[Key]) -> Outcome | None:
        """The outcome of a request on a key that is kept out; None: on none. All its keys are kept out from now on."""
        outcome = self._find_kept_out(keys)
        if outcome is not None:
            self._keep_out(keys, outcome)
        return outcome

    def _find_kept_out(self, keys: Iterable[Key]) -> Outcome | None:
        return next((self._kept_out[key] for key in keys if key in self._kept_out), None) if self._kept_out else None

    def _keep_out(self, keys: Iterable[Key], outcome: Outcome) -> None:
        for key in keys:
            self._kept_out.setdefault(key, outcome)


class _RepeatError(Exception):
    """The group runs again, without the requests on `keys`, which are deferred."""

    def __init__(self, sku: str = "", keys: Iterable[Key] = ()) -> None:
        super().__init__()
        self.sku = sku
        self.keys = keys


def _keys_of(request: Request, uow: UnitOfWork | None = None) -> set[Key]:
    """What the request works on. Messages with one id wait for each other: the inbox may find one by another."""
    keys = keys_of(request.command, uow)
    return keys if request.message is None else keys | {("message", request.message.id)}


async def _settle(group: Sequence[Request], uow: UnitOfWork) -> list[Outcome | None]:
    """The outcomes of requests that need not run: repeated messages and keys, and abandoned callers."""
    repeated = await accept_messages(group, uow)
    keys = [request.key for request in group if request.key is not None]
    if keys:
        await uow.answers.load(keys)
    return [outcome or _find_outcome(request, uow) for request, outcome in zip(group, repeated, strict=True)]


def _find_outcome(request: Request, uow: UnitOfWork) -> Outcome | None:
    if request.is_abandoned():
        return Outcome(error=TemporarilyUnavailableError("the caller has stopped waiting"))
    return None if request.key is None else find_answer(request.key, uow)


def find_answer(key: IdempotencyKey, uow: UnitOfWork) -> Outcome | None:
    """The outcome of an earlier request with the key; None where there was none."""
    try:
        answer = uow.answers.find(key)
    except DomainError as refusal:
        return Outcome(error=refusal)
    return None if answer is None else Outcome(duplicate=True, answer=answer)
