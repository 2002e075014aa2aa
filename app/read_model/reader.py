"""Executes the statements of the read model: one for each query, or one for each cell that the query concerns.

The result of one statement is of one moment.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Row, TextClause, text
from sqlalchemy.ext.asyncio import AsyncEngine

from app.adapters.postgresql.cells import Cells
from app.adapters.postgresql.connections import connect
from app.adapters.postgresql.unavailable import DatabaseUnavailableError, Reason
from app.domain.choice import MAIN_LOCATION
from app.service_layer.results import AllocationState, BatchState, status_of

AT_ONCE = 4
"""How many connections of the pool a query over several cells uses at a time."""

_SKUS = text("SELECT ref, sku FROM batch_refs WHERE ref = ANY (CAST(:refs AS text[]))")

Parameters = Mapping[str, Any]
Rows = Sequence[Row[Any]]


class Reader:
    """Reads from the pool of the cells. Every read raises DatabaseUnavailableError while the database is away.

    If the connection is lost, a statement runs once more on another one.
    """

    def __init__(self, cells: Cells) -> None:
        self._map = cells.map
        # A transaction around a single statement would only add two round trips.
        self._engines = [engine.execution_options(isolation_level="AUTOCOMMIT") for engine in cells.all_engines]

    @property
    def is_undivided(self) -> bool:
        """Whether all data are in one cell, and what belongs to no cell is there too."""
        return self._map.number == 1

    async def fetch(self, statement: TextClause, parameters: Parameters, *, of: str) -> Rows:
        """All rows of the statement in the cell of the name. See `CellMap.of`."""
        return await self._fetch(self._engines[self._map.of(of)], statement, parameters)

    async def fetch_from_control(self, statement: TextClause, parameters: Parameters) -> Rows:
        """All rows of the statement in the schema of what belongs to no cell."""
        return await self._fetch(self._engines[-1], statement, parameters)

    async def fetch_each(
        self, statement: TextClause, parameters: Parameters, *, of: str | None = None, with_control: bool = False
    ) -> list[Rows]:
        """The rows of each cell. With a name: of its cell only. `with_control`: of the schema `control` too."""
        if of is not None:
            return [await self.fetch(statement, parameters, of=of)]
        engines = self._engines if with_control else self._engines[: self._map.number]
        return await self._fetch_parts(statement, [(engine, parameters) for engine in engines])

    async def fetch_cells(self, statement: TextClause, parameters: Mapping[int, Parameters]) -> list[Rows]:
        """The rows of some cells, each with parameters of its own."""
        return await self._fetch_parts(statement, [(self._engines[cell], each) for cell, each in parameters.items()])

    async def cells_of_batches(self, refs: Sequence[str]) -> Mapping[int, Sequence[str]]:
        """The refs by the cells that have the batches. With several cells, unknown refs are left out."""
        if self.is_undivided:
            return {0: refs}
        named = self._by_cell((ref, ref) for ref in refs)
        parts = await self.fetch_cells(_SKUS, {cell: {"refs": each} for cell, each in named.items()})
        return self._by_cell((row.ref, row.sku) for part in parts for row in part)

    def _by_cell(self, names: Iterable[tuple[str, str]]) -> dict[int, list[str]]:
        """The first of each pair, by the cell of the second."""
        found: dict[int, list[str]] = {}
        for name, placed_by in names:
            found.setdefault(self._map.of(placed_by), []).append(name)
        return found

    async def _fetch_parts(self, statement: TextClause, wanted: Sequence[tuple[AsyncEngine, Parameters]]) -> list[Rows]:
        """The rows of each engine with its parameters, in this order."""
        if len(wanted) == 1:
            ((engine, parameters),) = wanted
            return [await self._fetch(engine, statement, parameters)]
        parts: list[Rows] = [()] * len(wanted)
        waiting = iter(enumerate(wanted))

        async def work() -> None:
            for number, (engine, parameters) in waiting:
                parts[number] = await self._fetch(engine, statement, parameters)

        try:
            async with asyncio.TaskGroup() as tasks:
                for _ in range(min(AT_ONCE, len(wanted))):
                    tasks.create_task(work())
        except ExceptionGroup as errors:
            # The others were cancelled, or failed for the same reason.
            raise errors.exceptions[0] from None
        return parts

    async def _fetch(self, engine: AsyncEngine, statement: TextClause, parameters: Parameters) -> Rows:
        try:
            return await _execute(engine, statement, parameters)
        except DatabaseUnavailableError as error:
            if error.reason is not Reason.CONNECTION_LOST:
                raise
        return await _execute(engine, statement, parameters)


async def _execute(engine: AsyncEngine, statement: TextClause, parameters: Parameters) -> Rows:
    async with connect(engine) as connection:
        return (await connection.execute(statement, parameters)).all()


def batch_state(row: Row[Any]) -> BatchState:
    """The batch in a row with the columns of the table and `is_expired`."""
    return BatchState(
        ref=row.ref,
        sku=row.sku,
        qty=row.qty,
        eta=row.eta,
        allocated_qty=row.allocated_qty,
        shipped_qty=row.shipped_qty,
        available_qty=0 if row.blocked or row.is_expired else row.qty - row.allocated_qty - row.shipped_qty,
        held_qty=row.held_qty,
        location=row.location or MAIN_LOCATION,
        best_before=row.best_before,
        blocked=row.blocked,
    )


def allocation_state(row: Row[Any]) -> AllocationState:
    """The line in a row with its columns and the `ref` and `eta` of its batch; both are null without a batch."""
    return AllocationState(
        order_id=row.order_id,
        sku=row.sku,
        qty=row.qty,
        status=status_of(
            is_allocated=row.ref is not None, is_shipped=row.shipped is not None, is_held=row.held_until is not None
        ),
        batch_ref=row.ref,
        eta=row.eta,
        held_until=row.held_until,
        line=row.line,
    )
