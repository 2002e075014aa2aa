"""The schemas of the cells. With one cell, all tables are in the schema that the connection chooses.

With several cells, each has a schema with all tables, and one more schema, `control`, has what belongs to no cell. The
statements in this package name tables without a schema. For a cell, `qualified` names the schema in the text, because
a statement would be planned anew after each change of `search_path`.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import Connection, ExecutionContext
from sqlalchemy.ext.asyncio import AsyncEngine

from app.adapters.postgresql.event_ids import LOCK_EVENTS, NEXT_BLOCK, NEXT_BLOCK_BY_TIME
from app.adapters.postgresql.pool_guard import PoolGuard
from app.adapters.postgresql.statements import LOCKING
from app.adapters.postgresql.tables import metadata
from app.service_layer.cells import CellMap

CONTROL = "control"
_OPTION = "allocation_schema"
_TABLES = "|".join([*metadata.tables, "alembic_version"])
# A column or a CTE is never behind these words. The name in quotation marks is a literal of the type regclass. A null
# may have the row type of a table.
_NAMED = re.compile(
    rf"""(\b(?:FROM|JOIN|INTO|UPDATE|USING|ONLY)\s+|\bNULL::)({_TABLES})\b(?!\.)|'((?:{_TABLES})(?:_id_seq)?)'(?=::regclass|\))"""
)

# It deletes nothing. Citus sends a statement that may write to the server of the cell, so advisory locks are those
# of that server, and does not move a cell that a transaction may have written. A transaction that has only locked rows
# would lose its locks in a move: they do not move with the rows.
_FENCE = "WITH fence AS (DELETE FROM outbox WHERE id = 0)"


def schemas_of(number: int) -> tuple[str | None, ...]:
    """The schemas of the cells; None stands for that of the connection."""
    return (None,) if number == 1 else tuple(f"cell_{cell}" for cell in range(number))


@lru_cache(maxsize=4096)
def qualified(statement: str, schema: str | None) -> str:
    """The statement with the schema before the name of each table. Without a schema: unchanged."""
    if schema is None:
        return statement

    def replace(found: re.Match[str]) -> str:
        word, table, literal = found.groups()
        return f"'{schema}.{literal}'" if literal else f"{word}{schema}.{table}"

    if statement in LOCKING:
        statement = f"{_FENCE} {statement}"
    # Citus does not run a DELETE that finds no row in another statement. With several cells no relay needs the lock.
    by_time = statement.removeprefix(LOCK_EVENTS).replace(NEXT_BLOCK, NEXT_BLOCK_BY_TIME)
    return _NAMED.sub(replace, by_time)


def schema_of(engine: AsyncEngine) -> str | None:
    """The schema of an engine of `Cells`; None for any other."""
    schema: str | None = engine.sync_engine.get_execution_options().get(_OPTION)
    return schema


class Cells:
    """The cells of a database. `engines` has an engine for each cell; they share the pool of the given one.

    Statements through such an engine run in the schema of its cell. `control` is the engine for what belongs to no
    cell: dead letters and what the notifier has read.
    """

    def __init__(self, engine: AsyncEngine, cells: CellMap) -> None:
        self.map = cells
        self.schemas = schemas_of(cells.number)
        self.engines: Sequence[AsyncEngine] = (engine,)
        self.control = engine
        if cells.number > 1:
            if not event.contains(engine.sync_engine, "before_cursor_execute", _qualify):
                event.listen(engine.sync_engine, "before_cursor_execute", _qualify, retval=True)
            self.engines = tuple(_engine_in(engine, schema) for schema in self.schemas)
            self.control = _engine_in(engine, CONTROL)

    def engine_of(self, name: str) -> AsyncEngine:
        """The engine for the cell of the name. See `CellMap.of`."""
        return self.engines[self.map.of(name)]

    @property
    def all_engines(self) -> Sequence[AsyncEngine]:
        """An engine for each schema: those of the cells, and `control` where it is another one."""
        return self.engines if self.map.number == 1 else (*self.engines, self.control)


def _engine_in(engine: AsyncEngine, schema: str | None) -> AsyncEngine:
    within = engine.execution_options(**{_OPTION: schema})
    PoolGuard.share(engine, within)
    return within


def _qualify(
    _: Connection, __: object, statement: str, parameters: object, context: ExecutionContext | None, ___: object
) -> tuple[str, Any]:
    schema = context.execution_options.get(_OPTION) if context is not None else None
    return qualified(statement, schema), parameters
