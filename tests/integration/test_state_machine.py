"""Random commands through the real bus over PostgreSQL, compared with the naive model after every step."""

import asyncio
import json
import uuid
from collections import defaultdict
from collections.abc import Awaitable, Sequence
from datetime import datetime, timedelta
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from app.adapters.postgresql.connections import create_engine
from app.domain.commands import Allocate, AllocateMany, Command, CreateBatch, CreateBatches
from app.domain.errors import BatchNotFoundError, DomainError, OrderNotFoundError, ProductNotFoundError
from app.read_model.history import HistoryEntry
from app.service_layer import product_handlers
from app.service_layer.ports import Cause
from app.service_layer.requests import Outcome, Request
from tests.support.cells import queries_over
from tests.support.database import bus_over
from tests.support.database_clock import install_clock, set_clock
from tests.support.holds import NOON
from tests.support.messages import received
from tests.support.naive import NaiveService, OutboxEvent
from tests.support.replayed import Replayed, batches_of
from tests.support.strategies import ORDERS, REFS, SKUS, commands_and_orders, later, midnights, moments

CAUSE = Cause(causation_id="request-1", correlation_id="conversation-1")
EVENTS = text("SELECT subject, sequence, type, data FROM events WHERE subject = ANY(:subjects) ORDER BY id")

HOLDS = text("""
    SELECT p.sku, p.held_qty, p.earliest_hold_end, l.held_qty AS sum, l.first_end, coalesce(l.others, 0) AS others
    FROM products p LEFT JOIN LATERAL (
        SELECT sum(qty) AS held_qty, min(held_until) AS first_end,
               count(*) FILTER (WHERE batch_number IS NULL OR shipped IS NOT NULL) AS others
        FROM order_lines WHERE order_lines.sku = p.sku AND held_until IS NOT NULL
    ) AS l ON true
    WHERE p.sku = ANY(:skus)
""")

# Replaced in the names of SKUs, batches and orders by a prefix of the run's own.
PREFIX = "run."
groups = st.lists(commands_and_orders(PREFIX), min_size=2, max_size=8)

Answer = TypeVar("Answer")


class Service(RuleBasedStateMachine):
    """The service and the naive model, which get the same commands.

    The machine is synchronous. All of its runs share an event loop and the connections on it, because a connection
    costs more processor time than a command; each run has names of its own.
    """

    runner: asyncio.Runner
    engine: AsyncEngine

    def __init__(self) -> None:
        super().__init__()
        self._prefix = f"{uuid.uuid4().hex[:8]}."
        self._naive = NaiveService()
        self._played: list[tuple[str, Command]] = []
        self._begun: set[str] = set()
        self._queries = queries_over(self.engine)
        self._bus = bus_over(self.engine)
        self._run(self._bus.__aenter__())
        self._set_clock(NOON)

    def teardown(self) -> None:
        self._run(self._bus.__aexit__(None, None, None))

    @initialize(is_stocked=st.booleans())
    def record_a_batch_of_each_product(self, *, is_stocked: bool) -> None:
        """So that orders of both have something to hold; without them more commands meet a SKU that does not exist."""
        for ref, sku in zip(REFS, SKUS, strict=False):
            if is_stocked:
                self.play_one(CreateBatch(ref=f"{PREFIX}{ref}", sku=f"{PREFIX}{sku}", qty=6))

    @rule(step=moments)
    def time_passes_or_the_clock_is_set_back(self, step: timedelta) -> None:
        self._set_clock(later(self._naive.now, step))

    @rule(step=midnights)
    def goods_expire_at_midnight(self, step: timedelta) -> None:
        self._set_clock(later(self._naive.now, step))

    @rule(command=commands_and_orders(PREFIX))
    def play_one(self, command: Command) -> None:
        mine = self._mine(command)
        self._begin([mine])
        try:
            answer = self._run(self._bus.handle(mine, CAUSE))
        except DomainError as refusal:
            answer = refusal.code
        assert answer == self._naive.play(mine)

    @rule(group=groups)
    def play_a_group(self, group: list[Command]) -> None:
        mine = [self._mine(command) for command in group]
        self._begin(mine)
        outcomes = self._run(self._bus.handle_group([Request(command, CAUSE) for command in mine]))
        assert _answers(outcomes) == [self._naive.play(command) for command in mine]

    @rule(group=groups)
    def play_many_in_one(self, group: list[Command]) -> None:
        mine = [self._mine(command) for command in group]
        batches = tuple(command for command in mine if isinstance(command, CreateBatch))
        lines = tuple(command for command in mine if isinstance(command, Allocate))
        if batches:
            self._play_many(CreateBatches(items=batches), batches)
        if lines:
            self._play_many(AllocateMany(items=lines), lines)

    @rule(group=groups, data=st.data())
    def play_messages_of_which_some_were_seen_before(self, group: list[Command], data: st.DataObject) -> None:
        fresh = [(uuid.uuid4().hex, self._mine(command)) for command in group]
        again = data.draw(st.lists(st.sampled_from(self._played + fresh), max_size=4))
        requests = [Request(command, CAUSE, received(message_id)) for message_id, command in [*again, *fresh]]

        self._begin([each.command for each in requests if (each.message_id, each.command) not in self._played])
        outcomes = self._run(self._bus.handle_group(requests))

        for request, outcome in zip(requests, outcomes, strict=True):
            message = (request.message_id or "", request.command)
            assert outcome.duplicate == (message in self._played)
            if not outcome.duplicate:
                self._played.append(message)
                assert _answers([outcome]) == [self._naive.play(request.command)]

    @invariant()
    def read_side_and_events_match(self) -> None:
        products, batches, lines, events = self._run(self._everything())

        assert products == [self._naive.product(sku) for sku in self._named(SKUS)]
        assert batches == [self._naive.batch(ref) for ref in self._named(REFS)]
        assert [found or [] for found in lines] == [self._naive.allocations(name) for name in self._named(ORDERS)]
        for order_id in self._named(ORDERS):
            assert events[order_id] == self._naive.outbox[order_id]
        for sku in self._named(SKUS):
            assert events[sku] == self._naive.outbox[sku]
            sequences = [sequence for sequence, _, _ in events[sku] if sequence is not None]
            assert sequences == list(range(1, len(sequences) + 1))

    @invariant()
    def no_batch_is_oversold_and_the_history_is_complete(self) -> None:
        for sku in self._named(SKUS):
            product = self._run(_found(self._queries.product(sku)))
            if product is None:
                continue
            for batch in product.batches:
                assert 0 <= batch.shipped_qty + batch.allocated_qty <= batch.qty
            replayed = Replayed.of(reversed(self._run(self._history(sku))))
            assert replayed.batches() == batches_of(product)
            assert replayed.backordered_qty == product.backordered_qty

    @invariant()
    def holds_add_up_and_none_is_overdue_where_a_command_was(self) -> None:
        for row in self._run(self._holds()):
            assert row.held_qty == (row.sum or 0)
            assert row.others == 0
            if row.first_end is not None:
                assert row.earliest_hold_end is not None
                assert row.earliest_hold_end <= row.first_end
                assert row.sku not in self._begun or row.first_end > self._naive.time_of(row.sku)

    # --- inside ----------------------------------------------------------------------------------------------------

    def _set_clock(self, now: datetime) -> None:
        self._begun = set()
        self._naive.now = now
        self._run(set_clock(self.engine, now))

    def _begin(self, commands: Sequence[Command]) -> None:
        self._begun = self._naive.begin_group(commands)

    async def _holds(self) -> Sequence[Any]:
        async with self.engine.connect() as connection:
            return (await connection.execute(HOLDS, {"skus": self._named(SKUS)})).all()

    async def _history(self, sku: str) -> list[HistoryEntry]:
        """All that happened to a product, newest first, in pages as a caller would read them."""
        entries: list[HistoryEntry] = []
        cursor = None
        while True:
            page = await self._queries.history.page(sku, limit=7, cursor=cursor)
            entries += page.items
            cursor = page.next_cursor
            if cursor is None:
                return entries

    def _run(self, work: Awaitable[Answer]) -> Answer:
        async def wait() -> Answer:
            return await work

        return self.runner.run(wait())

    def _play_many(self, many: Command, items: Sequence[Command]) -> None:
        self._begin(items)
        answers = self._run(self._bus.handle(many, CAUSE))
        codes = [answer.code if isinstance(answer, DomainError) else answer for answer in answers]
        assert codes == [self._naive.play(command) for command in items]

    async def _everything(self) -> tuple[list[Any], list[Any], list[Any], defaultdict[str, list[OutboxEvent]]]:
        """The results of the read side, None where nothing is found, and the events."""
        queries = self._queries
        products = asyncio.gather(*(_found(queries.product(sku)) for sku in self._named(SKUS)))
        batches = asyncio.gather(*(_found(queries.batch(ref)) for ref in self._named(REFS)))
        lines = asyncio.gather(*(_found(queries.allocations(order_id)) for order_id in self._named(ORDERS)))
        return await asyncio.gather(products, batches, lines, self._events())

    def _named(self, names: Sequence[str]) -> list[str]:
        return [f"{self._prefix}{name}" for name in names]

    def _mine(self, command: Command) -> Command:
        """The command with the names of this run."""
        return type(command)(**self._renamed(command.model_dump(exclude_unset=True, by_alias=True)))

    def _renamed(self, value: Any) -> Any:  # noqa: ANN401 - whatever a command is made of
        match value:
            case str():
                return value.replace(PREFIX, self._prefix, 1) if value.startswith(PREFIX) else value
            case dict():
                return {name: self._renamed(each) for name, each in value.items()}
            case list():
                return [self._renamed(each) for each in value]
            case _:
                return value

    async def _events(self) -> defaultdict[str, list[OutboxEvent]]:
        events: defaultdict[str, list[OutboxEvent]] = defaultdict(list)
        async with self.engine.connect() as connection:
            rows: Any = await connection.execute(EVENTS, {"subjects": self._named([*SKUS, *ORDERS])})
            for row in rows:
                events[row.subject].append((row.sequence, row.type, json.loads(row.data)))
        return events


async def _found(question: Awaitable[Answer]) -> Answer | None:
    try:
        return await question
    except (BatchNotFoundError, OrderNotFoundError, ProductNotFoundError):
        return None


def _answers(outcomes: Sequence[Outcome]) -> list[Any]:
    """The results, and the codes of the refusals. Raises what is neither."""
    return [outcome.error.code if isinstance(outcome.error, DomainError) else outcome.unwrap() for outcome in outcomes]


def test_the_service_behaves_like_the_naive_model(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # The naive model has to know the refs that the service generates.
    monkeypatch.setattr(product_handlers, "new_ref", lambda product: f"count-{product.sequence + 1}-{product.sku}")
    with asyncio.Runner() as runner:
        runner.run(install_clock(database_url, NOON))
        monkeypatch.setattr(Service, "runner", runner, raising=False)
        monkeypatch.setattr(Service, "engine", create_engine(database_url, pool_size=4), raising=False)
        try:
            run_state_machine_as_test(
                Service,
                settings=settings(
                    max_examples=50,
                    stateful_step_count=18,
                    deadline=None,
                    suppress_health_check=[
                        HealthCheck.too_slow,
                        HealthCheck.data_too_large,
                        HealthCheck.filter_too_much,
                    ],
                ),
            )
        finally:
            runner.run(Service.engine.dispose())
