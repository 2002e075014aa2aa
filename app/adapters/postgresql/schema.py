"""The schema of the database: migrates it to the revision that this code needs, and checks its revision."""

import asyncio
import re
import ssl
from functools import cache
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from app.adapters.postgresql.cells import CONTROL, qualified, schemas_of
from app.adapters.postgresql.connections import begin, connect, create_engine
from app.adapters.postgresql.errors import translated
from app.adapters.postgresql.unavailable import DatabaseUnavailableError, Reason

# A wheel has the same folders as the repository, inside the package `allocation`.
_CONFIG_FILE = Path(__file__).parents[3] / "alembic.ini"
_REVISION = re.compile(r'^(down_)?revision: .+ = "(\w+)"$', re.MULTILINE)
# The comment on the schema `control` has the number of cells; a schema of that name with another comment is not ours. A
# table of products outside of cells is that of one cell.
_NUMBER_OF_CELLS = text("""
    SELECT (
               SELECT substring(obj_description(oid, 'pg_namespace') FROM '^allocation, ([0-9]+) cells$')
               FROM pg_namespace WHERE nspname = :control
           ) AS cells,
           (SELECT 1 FROM pg_class WHERE oid = to_regclass('products') AND relkind = 'r') AS undivided
""")


class MigrationsMissingError(Exception):
    """The migrations are missing beside this code: the installation is incomplete."""


class WrongNumberOfCellsError(Exception):
    """The database was divided into another number of cells than ALLOCATION_CELLS says."""


def migrate(database_url: str, *, tls: ssl.SSLContext | None = None, cells: int = 1) -> str:
    """Upgrade to the newest revision and return it. Runs an event loop, so it must not be called from one.

    Several cells are upgraded one after another; after an interruption the next call continues. A schema that is newer
    than this code is not changed, so that a release can be rolled back. Raises MigrationsMissingError,
    WrongNumberOfCellsError, DatabaseUnavailableError.
    """
    head()  # An incomplete installation fails before it connects.
    found = asyncio.run(_prepare(database_url, tls, cells))
    for schema, revision in found.items():
        if revision != head() and not _is_newer(revision):
            _upgrade(database_url, tls, schema)
            found[schema] = head()
    return str(max(map(str, found.values())))


def _upgrade(database_url: str, tls: ssl.SSLContext | None, schema: str | None) -> None:
    # The import takes a quarter of a second of processor time, which is saved without a migration.
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415

    config = Config(_CONFIG_FILE)
    config.attributes.update(database_url=database_url, tls=tls, schema=schema)
    with translated():
        command.upgrade(config, "head")


@cache
def head() -> str:
    """The revision that this code needs. Raises MigrationsMissingError."""
    known, followed = _revisions()
    heads = known - followed
    if len(heads) != 1:
        raise MigrationsMissingError(
            f"the installation is incomplete: {_CONFIG_FILE} has {len(heads)} newest migrations beside it, not 1"
        )
    return next(iter(heads))


async def check(*engines: AsyncEngine, cells: int = 1) -> str | None:
    """The fault of the schema, or None. Raises DatabaseUnavailableError.

    Each engine is checked: a replica may be away or behind independently.

    A newer schema is accepted, because migrations only add: an upgrade migrates first, and the old processes serve
    until the new ones have replaced them.
    """
    for engine in engines:
        known = await _number_of_cells(engine)
        if known not in {cells, None}:
            return _wrong_number(known, cells)
        for schema in _all_schemas(cells):
            current = await _revision(engine, schema)
            if current != head() and not _is_newer(current):
                name = "the schema" if schema is None else f"the schema {schema}"
                return f"{name} is at revision {current or 'none'}, not at {head()}; run: allocation migrate"
    return None


def _all_schemas(cells: int) -> tuple[str | None, ...]:
    """The schemas of the cells, and the one that belongs to no cell."""
    return schemas_of(cells) if cells == 1 else (CONTROL, *schemas_of(cells))


def _wrong_number(known: int | None, cells: int) -> str:
    return f"the database has {known} cell{'s' * (known != 1)}, and ALLOCATION_CELLS is {cells}: it cannot be changed"


@cache
def _revisions() -> tuple[frozenset[str], frozenset[str]]:
    """All revisions, and those that another revision follows. Reads the files without Alembic."""
    found = [
        (bool(down), revision)
        for file in _CONFIG_FILE.with_name("alembic").glob("versions/*.py")
        for down, revision in _REVISION.findall(file.read_text(encoding="utf-8"))
    ]
    return frozenset(each for down, each in found if not down), frozenset(each for down, each in found if down)


def known_revisions() -> frozenset[str]:
    """The revisions that this code has."""
    return _revisions()[0]


def _is_newer(revision: str | None) -> bool:
    """Revisions are never removed, so a revision that this code does not have is newer."""
    return revision is not None and revision not in known_revisions()


async def _number_of_cells(engine: AsyncEngine) -> int | None:
    """How many cells the database was divided into; None before its first migration."""
    try:
        async with connect(engine) as connection:
            found = (await connection.execute(_NUMBER_OF_CELLS, {"control": CONTROL})).one()
    except DatabaseUnavailableError as error:
        if error.reason is not Reason.NO_SCHEMA:
            raise
        return None
    return int(found.cells) if found.cells is not None else found.undivided


async def _revision(engine: AsyncEngine, schema: str | None) -> str | None:
    """The revision of the schema; None without a schema."""
    statement = qualified("SELECT version_num FROM alembic_version", schema)
    try:
        async with connect(engine) as connection:
            found = (await connection.execute(text(statement))).scalar_one_or_none()
            return None if found is None else str(found)
    except DatabaseUnavailableError as error:
        if error.reason is not Reason.NO_SCHEMA:
            raise
        return None


async def _prepare(database_url: str, tls: ssl.SSLContext | None, cells: int) -> dict[str | None, str | None]:
    """Create the schemas of several cells, and return the revision of each schema."""
    engine = create_engine(database_url, pool_size=1, tls=tls)
    try:
        known = await _number_of_cells(engine)
        if known not in {cells, None}:
            raise WrongNumberOfCellsError(_wrong_number(known, cells))
        if cells > 1:
            await _create_schemas(engine, cells)
        return {schema: await _revision(engine, schema) for schema in _all_schemas(cells)}
    finally:
        await engine.dispose()


async def _create_schemas(engine: AsyncEngine, cells: int) -> None:
    # The comment is the record of the number. It is written first, with the schema that it belongs to.
    async with begin(engine) as connection:
        await connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {CONTROL}"))
        await connection.execute(text(f"COMMENT ON SCHEMA {CONTROL} IS 'allocation, {cells} cells'"))
    for schema in schemas_of(cells):
        async with begin(engine) as connection:
            await connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {schema}"))
