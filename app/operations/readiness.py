"""Whether the service can do its work on its databases: for `/readyz`."""

from app.adapters.postgresql import schema
from app.adapters.postgresql.connector import WrongServerError
from app.adapters.postgresql.inspection import check_writable
from app.bootstrap import Service

READ_ONLY = "the database takes no writes: no server of it that answers is a primary that is open for writes"


async def check(service: Service) -> str | None:
    """Why the service cannot do its work, or None. Raises what a database raises where it is away."""
    try:
        await check_writable(service.engine)
        return await schema.check(*service.engines)
    except WrongServerError:
        return READ_ONLY
