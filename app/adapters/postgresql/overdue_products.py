"""Finds products with holds that have ended, and counts holds."""

from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from app.adapters.postgresql.connections import connect

_OVERDUE = text("""
    SELECT sku, extract(epoch FROM statement_timestamp() - earliest_hold_end)::float8 AS seconds
    FROM products WHERE earliest_hold_end <= statement_timestamp() ORDER BY earliest_hold_end LIMIT :limit
""")


@dataclass(frozen=True, slots=True)
class OverdueProduct:
    """A product with a hold that may have ended `seconds` ago."""

    sku: str
    seconds: float


async def overdue_products(engine: AsyncEngine, *, limit: int) -> list[OverdueProduct]:
    """Products with holds that may have ended, the longest ago first. Raises DatabaseUnavailableError."""
    async with connect(engine) as connection:
        return [OverdueProduct(*row) for row in await connection.execute(_OVERDUE, {"limit": limit})]
