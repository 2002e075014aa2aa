"""The writes of the unit of work: one statement writes the changed rows of all tables.

The statements are generated from the tables. A field of a row that is not a column of its table is an error when this
module is imported.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import count
from types import MappingProxyType
from typing import Any, NamedTuple

from sqlalchemy import Table
from sqlalchemy.dialects import postgresql

from app.adapters.postgresql import tables
from app.adapters.postgresql.rows import (
    AnswerRow,
    BatchRow,
    CartItemKey,
    CartItemRow,
    CartRow,
    CommitRow,
    EventKey,
    EventRow,
    LineKey,
    LineRow,
    OrderKey,
    OrderRow,
    ProductKey,
    ProductRow,
)

_DIALECT = postgresql.dialect()  # type: ignore[no-untyped-call]


@dataclass(frozen=True, slots=True)
class Write:
    """A write of many rows. In `sql`, `{rows}` stands for the rows, a FROM item with the alias `new`.

    The rows are sent as one array for each column, with the array types `types`. The last `rare` columns are sent only
    if one of the rows has a value there other than null, 0, false or an empty text: most commands have none, and
    asyncpg takes a microsecond for three values.
    """

    name: str
    sql: str
    columns: tuple[str, ...]
    types: tuple[str, ...]
    positions: tuple[int, ...]
    """The index of each of the columns in a row. Updates leave out columns that never change."""

    rare: tuple[str, ...] = ()
    """The values of the `rare` columns where they are not sent, in SQL."""

    also: "Write | None" = None
    """A write of some of the columns to another table. It takes the same arrays, so that they are sent once."""


Rows = Sequence[tuple[Any, ...]]
Writes = Mapping[Write, Rows]


def types_of(table: Table, columns: Sequence[str]) -> tuple[str, ...]:
    """The types of the columns, in SQL."""
    return tuple(table.c[column].type.compile(dialect=_DIALECT).partition(" COLLATE")[0] for column in columns)


def _write(
    name: str, sql: str, table: Table, row: type[NamedTuple], *, but: Sequence[str] = (), rare: Sequence[str] = ()
) -> Write:
    columns = (*(column for column in row._fields if column not in {*but, *rare}), *rare)
    types = types_of(table, columns)
    positions = tuple(row._fields.index(column) for column in columns)
    rare_types = types[len(columns) - len(rare) :]
    absent = (f"{_absent_value(table, column)}::{kind}" for column, kind in zip(rare, rare_types, strict=True))
    return Write(name, sql, columns, types, positions, tuple(absent))


def _absent_value(table: Table, column: str) -> str:
    if table.c[column].nullable:
        return "NULL"
    return {bool: "false", str: "''"}.get(table.c[column].type.python_type, "0")


def _insert(
    table: Table,
    row: type[NamedTuple],
    then: str = "",
    *,
    rare: Sequence[str] = (),
    overriding: str = "",
    computed: Mapping[str, str] = MappingProxyType({}),
) -> Write:
    """`computed` has the values that are not taken from the row as they are, in SQL."""
    columns = ", ".join(row._fields)
    values = ", ".join(computed.get(column, f"new.{column}") for column in row._fields)
    sql = f"INSERT INTO {table.name} ({columns}) {overriding} SELECT {values} FROM {{rows}} {then}"
    return _write(f"insert_{table.name}", sql, table, row, rare=rare)


def _update(table: Table, row: type[NamedTuple], *, but: Sequence[str] = (), rare: Sequence[str] = ()) -> Write:
    keys = table.primary_key.columns.keys()
    values = ", ".join(f"{name} = new.{name}" for name in row._fields if name not in {*keys, *but})
    sql = f"UPDATE {table.name} SET {values} FROM {{rows}} WHERE {_same(table, keys)}"
    return _write(f"update_{table.name}", sql, table, row, but=but, rare=rare)


def _delete(table: Table, key: type[NamedTuple], *, rare: Sequence[str] = ()) -> Write:
    sql = f"DELETE FROM {table.name} USING {{rows}} WHERE {_same(table, key._fields)}"
    return _write(f"delete_{table.name}", sql, table, key, rare=rare)


def _same(table: Table, columns: Sequence[str]) -> str:
    return " AND ".join(f"{table.name}.{column} = new.{column}" for column in columns)


DELETE_PRODUCTS = _delete(tables.products, ProductKey)
UPDATE_PRODUCTS = _update(
    tables.products, ProductRow, rare=("reorder_point", "held_qty", "earliest_hold_end", "hold_clock", "next_expiry")
)
INSERT_BATCHES = _insert(tables.batches, BatchRow)
UPDATE_BATCHES = _update(
    tables.batches,
    BatchRow,
    but=("ref", "first_qty", "first_eta", "first_terms"),
    rare=("held_qty", "location", "best_before", "blocked"),
)
_RARE_OF_LINES = ("shipped", "held_until", "locations", "good_until", "queue_rank", "line")
DELETE_LINES = _delete(tables.order_lines, LineKey, rare=("line",))
UPDATE_LINES = _update(tables.order_lines, LineRow, rare=_RARE_OF_LINES)
INSERT_LINES = _insert(tables.order_lines, LineRow, rare=_RARE_OF_LINES)
DELETE_ORDERS = _delete(tables.orders, OrderKey)
UPSERT_ORDERS = _insert(
    tables.orders,
    OrderRow,
    "ON CONFLICT (order_id) DO UPDATE SET lines = excluded.lines, placed_at = excluded.placed_at",
)
UPSERT_CARTS = _insert(
    tables.carts,
    CartRow,
    "ON CONFLICT (cart_id) DO UPDATE SET version = excluded.version, status = excluded.status,"
    " order_id = excluded.order_id, changed_on = excluded.changed_on",
)
DELETE_CART_ITEMS = _delete(tables.cart_items, CartItemKey)
UPSERT_CART_ITEMS = _insert(
    tables.cart_items,
    CartItemRow,
    "ON CONFLICT (cart_id, sku) DO UPDATE SET qty = excluded.qty, unit_price = excluded.unit_price",
)
INSERT_ANSWERS = _insert(tables.idempotency_keys, AnswerRow)
# The subject of an event without a sequence is locked, so its last place is known. CASE keeps PostgreSQL from looking
# for it where an event has a sequence: an addition would compute both of its sides.
_LAST_PLACE = "SELECT max(e.place) FROM events AS e WHERE e.subject = new.subject AND e.place IS NOT NULL"
INSERT_EVENTS = replace(
    _insert(
        tables.events,
        EventRow,
        rare=("traceparent", "principal", "place"),
        overriding="OVERRIDING SYSTEM VALUE",
        computed={"place": f"CASE WHEN new.place IS NOT NULL THEN new.place + coalesce(({_LAST_PLACE}), 0) END"},
    ),
    also=_insert(tables.outbox, EventKey),
)
NOTE_COMMIT = _insert(
    tables.commit_tokens,
    CommitRow,
    "ON CONFLICT (connection) DO UPDATE SET token = excluded.token, noted_at = excluded.noted_at",
)


def statement_of(writes: Writes) -> tuple[str, list[Sequence[Any]]]:
    """One statement that does all the writes, and its arguments.

    The cost of a round trip is paid once, however many tables change. Foreign keys are checked at the end of the
    statement, so the order of the writes does not matter.
    """
    parts: list[tuple[Write, bool]] = []
    arguments: list[Sequence[Any]] = []
    for write, rows in writes.items():
        if not rows:
            continue
        columns = list(zip(*rows, strict=True))
        columns = [columns[position] for position in write.positions]
        common = len(columns) - len(write.rare)
        has_rare = any(map(any, columns[common:]))
        parts.append((write, has_rare))
        arguments += columns if has_rare else columns[:common]
    return _statement(tuple(parts)), arguments


@cache
def _statement(writes: tuple[tuple[Write, bool], ...]) -> str:
    placeholder = count(1)
    parts = []
    for each, has_rare in writes:
        sent = len(each.columns) if has_rare else len(each.columns) - len(each.rare)
        kinds = zip(each.columns[:sent], each.types, strict=False)
        arrays = {column: f"${next(placeholder)}::{kind}[]" for column, kind in kinds}
        rows = _unnest(arrays, each.columns[:sent])
        if sent < len(each.columns):
            absent = zip(each.rare, each.columns[sent:], strict=True)
            values = ", ".join(f"{value} AS {column}" for value, column in absent)
            rows = f"(SELECT *, {values} FROM {rows}) AS new"
        parts.append(f"{each.name} AS ({each.sql.format(rows=rows)})")
        if each.also is not None:
            parts.append(f"{each.also.name} AS ({each.also.sql.format(rows=_unnest(arrays, each.also.columns))})")
    return f"WITH {', '.join(parts)} SELECT 1"


def _unnest(arrays: Mapping[str, str], columns: Sequence[str]) -> str:
    return f"unnest({', '.join(arrays[column] for column in columns)}) AS new({', '.join(columns)})"
