"""The check of the databases for `/readyz`."""

from app.adapters.postgresql import schema
from app.adapters.postgresql.inspection import check_writable
from app.adapters.postgresql.unavailable import DatabaseUnavailableError, Reason
from app.bootstrap import Service

READ_ONLY = "the database takes no writes: no server that answers is a primary that accepts writes"


async def check(service: Service) -> str | None:
    """The reason why the service is not ready, or None. Raises DatabaseUnavailableError."""
    try:
        await check_writable(service.engine)
        return await schema.check(*service.engines, cells=service.settings.cells)
    except DatabaseUnavailableError as error:
        if error.reason is not Reason.WRONG_SERVER:
            raise
        return READ_ONLY
