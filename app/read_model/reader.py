"""Executes the statements of the read model, one for each query, so each result is of one moment."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Row, TextClause
from sqlalchemy.ext.asyncio import AsyncEngine

from app.adapters.postgresql.connections import connect
from app.adapters.postgresql.unavailable import DatabaseUnavailableError, Reason
from app.domain.choice import MAIN_LOCATION
from app.service_layer.results import AllocationState, BatchState, status_of


class Reader:
    """Reads from the pool of the engine. Every read raises DatabaseUnavailableError while the database is away."""

    def __init__(self, engine: AsyncEngine) -> None:
        # A transaction around a single statement would only add two round trips.
        self._engine = engine.execution_options(isolation_level="AUTOCOMMIT")

    async def fetch(self, statement: TextClause, parameters: Mapping[str, Any]) -> Sequence[Row[Any]]:
        """All rows of the statement. If the connection is lost, the statement runs once more on another one."""
        try:
            return await self._fetch(statement, parameters)
        except DatabaseUnavailableError as error:
            if error.reason is not Reason.CONNECTION_LOST:
                raise
        return await self._fetch(statement, parameters)

    async def _fetch(self, statement: TextClause, parameters: Mapping[str, Any]) -> Sequence[Row[Any]]:
        async with connect(self._engine) as connection:
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
