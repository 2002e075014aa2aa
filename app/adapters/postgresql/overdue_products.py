"""Finds products with holds that have ended, and products with batches that have expired."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from app.adapters.postgresql.connections import connect

_OVERDUE = text("""
    SELECT sku, earliest_hold_end, extract(epoch FROM statement_timestamp() - earliest_hold_end)::float8 AS seconds
    FROM products
    WHERE earliest_hold_end <= statement_timestamp()
      AND (earliest_hold_end, sku) > (CAST(:end AS timestamptz), CAST(:sku AS text))
    ORDER BY earliest_hold_end, sku LIMIT :limit
""")

_EXPIRED = text("""
    SELECT sku FROM products WHERE next_expiry < statement_timestamp()::date ORDER BY next_expiry, sku LIMIT :limit
""")


class OverduePosition(NamedTuple):
    """The position of a product among those that are overdue."""

    end: datetime
    sku: str


BEFORE_ALL = OverduePosition(datetime(1970, 1, 1, tzinfo=UTC), "")


@dataclass(frozen=True, slots=True)
class OverdueProduct:
    """A product with a hold that may have ended `seconds` ago."""

    sku: str
    end: datetime
    seconds: float

    @property
    def position(self) -> OverduePosition:
        """Its position among those that are overdue."""
        return OverduePosition(self.end, self.sku)


async def overdue_products(engine: AsyncEngine, after: OverduePosition, *, limit: int) -> list[OverdueProduct]:
    """The next products with holds that may have ended, the longest ago first. Raises DatabaseUnavailableError."""
    async with connect(engine) as connection:
        rows = await connection.execute(_OVERDUE, {"end": after.end, "sku": after.sku, "limit": limit})
        return [OverdueProduct(*row) for row in rows]


async def expired_products(engine: AsyncEngine, *, limit: int) -> list[str]:
    """Products of which a batch has expired since they were changed last. Raises DatabaseUnavailableError."""
    async with connect(engine) as connection:
        return list(await connection.scalars(_EXPIRED, {"limit": limit}))
