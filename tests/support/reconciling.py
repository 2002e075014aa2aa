"""Damages rows, and finds the differences."""

from app.bootstrap import Service
from app.operations.reconciliation import Reconciliation
from tests.support.database import raw_connection


async def sql(service: Service, statement: str, *, cell_of: str | None = None) -> None:
    """Run statements in the service's database. See `raw_connection`."""
    async with raw_connection(service.settings.database_url.get_secret_value(), cell_of=cell_of) as connection:
        await connection.execute(statement)


async def found(service: Service, *, repair: bool = False) -> list[str]:
    """The lines of one run."""
    return [difference.line async for difference in Reconciliation(service, repair=repair).differences()]
