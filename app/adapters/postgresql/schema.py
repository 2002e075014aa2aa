"""The schema of the database: migrates it to the revision that this code needs, and checks its revision."""

import asyncio
import re
import ssl
from functools import cache
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from app.adapters.postgresql.connections import connect, create_engine
from app.adapters.postgresql.errors import translated
from app.adapters.postgresql.unavailable import DatabaseUnavailableError, Reason

# A wheel has the same folders as the repository, inside the package `allocation`.
_CONFIG_FILE = Path(__file__).parents[3] / "alembic.ini"
_REVISION = re.compile(r'^(down_)?revision: .+ = "(\w+)"$', re.MULTILINE)


class MigrationsMissingError(Exception):
    """The migrations are missing beside this code: the installation is incomplete."""


def migrate(database_url: str, *, tls: ssl.SSLContext | None = None) -> str:
    """Upgrade to the newest revision and return it. Runs an event loop, so it must not be called from one.

    A schema that is newer than this code is not changed, so that a release can be rolled back. Raises
    MigrationsMissingError, DatabaseUnavailableError.
    """
    head()  # An incomplete installation fails before it connects.
    revision = asyncio.run(_revision_at(database_url, tls))
    if revision == head() or _is_newer(revision):
        return str(revision)
    # The import takes a quarter of a second of processor time, which is saved without a migration.
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415

    config = Config(_CONFIG_FILE)
    config.attributes.update(database_url=database_url, tls=tls)
    with translated():
        command.upgrade(config, "head")
    return head()


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


async def check(*engines: AsyncEngine) -> str | None:
    """The fault of the schema, or None. Raises DatabaseUnavailableError.

    Each engine is checked: a replica may be away or behind independently.

    A newer schema is accepted, because migrations only add: an upgrade migrates first, and the old processes serve
    until the new ones have replaced them.
    """
    for engine in engines:
        current = await _revision(engine)
        if current != head() and not _is_newer(current):
            return f"the schema is at revision {current or 'none'}, not at {head()}; run: allocation migrate"
    return None


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


async def _revision(engine: AsyncEngine) -> str | None:
    """The revision of the schema; None without a schema."""
    try:
        async with connect(engine) as connection:
            found = (await connection.execute(text("SELECT version_num FROM alembic_version"))).scalar_one_or_none()
            return None if found is None else str(found)
    except DatabaseUnavailableError as error:
        if error.reason is not Reason.NO_SCHEMA:
            raise
        return None


async def _revision_at(database_url: str, tls: ssl.SSLContext | None) -> str | None:
    engine = create_engine(database_url, pool_size=1, tls=tls)
    try:
        return await _revision(engine)
    finally:
        await engine.dispose()
