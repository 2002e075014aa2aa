"""How much waits for somebody: figures for the metrics, read now and then, each bounded and from an index alone."""

from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

_COUNT = text("""
    SELECT (SELECT count(*) FROM (SELECT FROM order_lines WHERE batch_number IS NULL LIMIT :limit) AS lines),
           (SELECT count(*) FROM (SELECT FROM dead_letters LIMIT :limit) AS letters)
""")
COUNT_LIMIT = 100_000


@dataclass(frozen=True, slots=True)
class Waiting:
    """Lines in the queues of all products, and messages in the box; each counted up to `COUNT_LIMIT`."""

    backordered_lines: float
    dead_letters: float


async def count_waiting(engine: AsyncEngine) -> Waiting:
    """Count what waits."""
    async with engine.connect() as connection:
        return Waiting(*(await connection.execute(_COUNT, {"limit": COUNT_LIMIT})).one())
