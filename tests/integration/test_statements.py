"""What the statements of the service leave out, so that an engine which places schemas on several servers can run them.

Such an engine refuses volatile functions in UPDATE, DELETE and ON CONFLICT DO UPDATE, and copies what one
data-modifying part of a statement returns to every server before another part inserts it.
"""

import importlib
import pkgutil
import re
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from sqlalchemy import TextClause

import app
from app.adapters.postgresql import writes
from app.adapters.postgresql.writes import Write
from tests.support.database import raw_connection

WRITES = ("INSERT", "UPDATE", "DELETE", "MERGE")
CLOCKS = {"now", "statement_timestamp", "transaction_timestamp"}
"""Functions that are stable within a statement or transaction; the engine refuses them in DO UPDATE."""

VOLATILE = "SELECT DISTINCT proname FROM pg_proc WHERE provolatile = 'v'"


class Part(NamedTuple):
    """A data-modifying part of a statement: the whole, or a WITH query; the name is empty for the whole."""

    name: str
    sql: str

    @property
    def changes(self) -> str:
        """What changes rows that exist: all of it, or what follows DO UPDATE."""
        return self.sql.partition(" DO UPDATE ")[2] if self.sql.startswith("INSERT") else self.sql


def parts_of(statement: str) -> list[Part]:
    """The data-modifying parts of each of the statements in a text."""
    found = []
    for each in re.sub(r"--[^\n]*", "", statement).split(";"):
        sql = " ".join(each.split())
        for match in re.finditer(
            r"(\w+) AS (?:NOT MATERIALIZED |MATERIALIZED )?\( ?(?=INSERT|UPDATE|DELETE|MERGE)", sql
        ):
            depth, end = 1, match.end()
            while depth:
                depth += {"(": 1, ")": -1}.get(sql[end], 0)
                end += 1
            found.append(Part(match[1], sql[match.end() : end - 1]))
        whole = sql
        for part in found:
            whole = whole.replace(part.sql, "")
        main = re.search(r"(?:^|\) ?)((?:INSERT INTO|UPDATE|DELETE FROM|MERGE INTO) .*)", whole)
        if main:
            found.append(Part("", main[1]))
    return found


def problems_of(statement: str, volatile: set[str]) -> list[str]:
    """What an engine with several servers would refuse, or would do at a high price."""
    parts = parts_of(statement)
    found = []
    for part in parts:
        called = {name for name in re.findall(r"([a-z_]+) ?\(", part.changes.lower()) if name in volatile}
        if called or re.search(r"\bcurrent_(timestamp|date|time)\b|\blocaltime", part.changes.lower()):
            found.append(f"{part.name or part.sql[:40]} calls {', '.join(sorted(called)) or 'the clock'}")
        found += [
            f"{part.name or part.sql[:40]} reads {other.name}"
            for other in parts
            if other.name and re.search(rf"\b(FROM|JOIN|USING) {other.name}\b", part.sql)
        ]
    return found


def statements() -> Iterator[tuple[str, str]]:
    """Every statement of the service that writes: the constants of its modules, and the one that is generated."""
    for info in pkgutil.walk_packages(app.__path__, "app."):
        if info.name.endswith("__main__"):
            continue
        for name, value in vars(importlib.import_module(info.name)).items():
            if isinstance(value, str | TextClause) and any(f"{word} " in str(value) for word in WRITES):
                yield f"{info.name}.{name}", str(value)
    every = [value for value in vars(writes).values() if isinstance(value, Write)]
    for has_rare in (False, True):
        yield f"a unit of work, {has_rare=}", writes._statement(tuple((each, has_rare) for each in every))


async def volatile_functions(database_url: str) -> set[str]:
    async with raw_connection(database_url) as connection:
        return {row["proname"] for row in await connection.fetch(VOLATILE)} | CLOCKS


async def test_no_write_depends_on_a_volatile_function_or_on_another_write(database_url: str) -> None:
    volatile = await volatile_functions(database_url)
    found = dict(statements())

    assert len(found) > 20
    assert {name: problems for name, sql in found.items() if (problems := problems_of(sql, volatile))} == {}


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE leases SET ends = clock_timestamp() + $1 WHERE owner = $2",
        "UPDATE leases SET ends = $1 WHERE shard IN (SELECT shard FROM leases WHERE ends < now() FOR UPDATE)",
        "DELETE FROM leases WHERE ends < CURRENT_TIMESTAMP",
        "DELETE FROM leases USING (SELECT shard FROM leases ORDER BY random() LIMIT 1) AS one WHERE one.shard = 1",
        "INSERT INTO orders (id) VALUES ($1) ON CONFLICT (id) DO UPDATE SET placed_at = now()",
        "SET LOCAL synchronous_commit = off; DELETE FROM outbox WHERE sent < statement_timestamp()",
        "WITH a AS (UPDATE t SET b = gen_random_uuid() RETURNING b) SELECT b FROM a",
        "WITH a AS (INSERT INTO t (b) SELECT $1 RETURNING id) INSERT INTO u (id) SELECT id FROM a",
        "WITH a AS (INSERT INTO t (b) SELECT $1 RETURNING id), c AS (INSERT INTO u SELECT id FROM a) SELECT 1",
        "WITH a AS (DELETE FROM t RETURNING id) UPDATE u SET n = 0 FROM a WHERE u.id = a.id",
    ],
)
async def test_a_write_that_does_is_found(database_url: str, statement: str) -> None:
    assert problems_of(statement, await volatile_functions(database_url))


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO members (owner, until) VALUES ($1, clock_timestamp()) ON CONFLICT (owner) DO NOTHING",
        "INSERT INTO orders (id) VALUES ($1) ON CONFLICT (id) DO UPDATE SET placed_at = excluded.placed_at",
        "WITH a AS (INSERT INTO t (b) SELECT now()), c AS (INSERT INTO u (id) SELECT $2) SELECT 1",
        "WITH a AS (INSERT INTO t (b) SELECT $1 RETURNING id) SELECT id FROM a",
        "SELECT shard FROM leases WHERE ends < clock_timestamp() FOR UPDATE",
    ],
)
async def test_a_write_that_does_not_passes(database_url: str, statement: str) -> None:
    assert not problems_of(statement, await volatile_functions(database_url))
