"""The schema of the database: bring it to the version that this code needs, and tell whether it is there."""

from functools import cache
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

_CONFIG_FILE = Path(__file__).parents[2] / "alembic.ini"
_UNDEFINED_TABLE = "42P01"


def migrate(database_url: str) -> None:
    """Upgrade to the newest revision. Runs an event loop of its own, so call it where none runs."""
    config = Config(_CONFIG_FILE)
    config.attributes["database_url"] = database_url
    command.upgrade(config, "head")


@cache
def head() -> str:
    """The revision that this code needs."""
    revision = ScriptDirectory.from_config(Config(_CONFIG_FILE)).get_current_head()
    if revision is None:
        message = f"no revision stands beside {_CONFIG_FILE}"
        raise RuntimeError(message)
    return revision


async def check(engine: AsyncEngine) -> str | None:
    """What is wrong with the schema, or None. Raises what the database raises where it is away."""
    try:
        async with engine.connect() as connection:
            current = (await connection.execute(text("SELECT version_num FROM alembic_version"))).scalar_one_or_none()
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) != _UNDEFINED_TABLE:
            raise
        current = None
    if current == head():
        return None
    return f"the schema is at revision {current or 'none'}, not at {head()}; run: allocation migrate"
