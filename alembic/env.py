"""Runs the migrations with the async engine, one process at a time, with bounded waits for locks."""

import asyncio
import time

import sqlalchemy as sa
from alembic import context
from sqlalchemy.engine import Connection
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from app.adapters.postgresql.connector import Connector
from app.adapters.postgresql.database_url import DatabaseUrl
from app.adapters.postgresql.tables import metadata
from app.bootstrap import database_tls
from app.settings import Settings

CONNECT_TIMEOUT = 10.0
LOCK_TIMEOUT = "5s"
TURN_TIMEOUT = 60.0
RETRY_DELAY = 0.1
# The advisory lock that serialises concurrent migrations. The number is arbitrary.
ADVISORY_LOCK = 7_210_531


def migrate(connection: Connection) -> None:
    """Run the requested revisions, each in its own transaction."""
    context.configure(
        connection=connection,
        target_metadata=metadata,
        transaction_per_migration=True,
        compare_server_default=True,
    )
    _wait_for_turn(connection)
    connection.execute(sa.text("SELECT set_config('lock_timeout', :timeout, false)"), {"timeout": LOCK_TIMEOUT})
    connection.commit()
    with context.begin_transaction():
        context.run_migrations()


def _wait_for_turn(connection: Connection) -> None:
    """Take the advisory lock. Raises TimeoutError.

    Each attempt is a transaction of its own: one that waited would keep its snapshot, and the process that has the lock
    could not build an index concurrently.
    """
    until = time.monotonic() + TURN_TIMEOUT
    while not connection.scalar(sa.text("SELECT pg_try_advisory_lock(:number)"), {"number": ADVISORY_LOCK}):
        connection.commit()
        if time.monotonic() > until:
            message = f"another process has been migrating the database for {TURN_TIMEOUT:.0f} s"
            raise TimeoutError(message)
        time.sleep(RETRY_DELAY)


async def main() -> None:
    """Connect to the database of the caller's configuration, or of the settings; with several cells, in one schema."""
    given = context.config.attributes
    schema = given.get("schema")
    if "database_url" in given:
        url, tls = given["database_url"], given.get("tls")
    else:
        settings = Settings()
        url, tls = settings.database_url.get_secret_value(), database_tls(settings)
    database = DatabaseUrl.parse(url)
    engine = create_async_engine(
        database.url,
        poolclass=NullPool,
        connect_args={
            "async_creator_fn": Connector(database, "read-write"),
            "ssl": tls or False,
            "timeout": CONNECT_TIMEOUT,
            "server_settings": {} if schema is None else {"search_path": schema},
        },
    )
    async with engine.connect() as connection:
        await connection.run_sync(migrate)
    await engine.dispose()


if context.is_offline_mode():
    context.configure(dialect_name="postgresql", target_metadata=metadata, literal_binds=True)
    with context.begin_transaction():
        context.run_migrations()
else:
    asyncio.run(main())
