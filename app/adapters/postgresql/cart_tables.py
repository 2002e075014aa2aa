"""The tables of carts."""

from sqlalchemy import BigInteger, CheckConstraint, Column, Date, ForeignKey, Index, Integer, Table, Text, text

from app.adapters.postgresql.metadata import Identifier, metadata

# The day of the last change is a date, so that changes of one day update no index: they are heap-only.
carts = Table(
    "carts",
    metadata,
    Column("cart_id", Identifier, primary_key=True),
    Column("currency", Text, nullable=False, comment="ISO 4217"),
    Column("version", BigInteger, nullable=False, comment="changes so far"),
    Column("status", Text, nullable=False),
    Column("order_id", Identifier, comment="of the last checkout; null: not checked out"),
    Column("changed_on", Date, nullable=False, server_default=text("(now() AT TIME ZONE 'UTC')::date")),
    CheckConstraint("currency ~ '^[A-Z]{3}$'", name="currency"),
    CheckConstraint("version > 0", name="version"),
    CheckConstraint("status IN ('open', 'checked_out', 'closed')", name="status"),
    CheckConstraint("status = 'open' OR order_id IS NOT NULL", name="checked_out_as_an_order"),
    Index(None, "changed_on"),
    postgresql_with={"fillfactor": "70"},
)

cart_items = Table(
    "cart_items",
    metadata,
    Column("cart_id", Identifier, ForeignKey("carts.cart_id", ondelete="CASCADE"), primary_key=True),
    Column("sku", Identifier, primary_key=True),
    Column("qty", Integer, nullable=False),
    Column("unit_price", BigInteger, nullable=False, comment="in minor units of the currency of the cart"),
    CheckConstraint("qty > 0", name="qty"),
    # As numeric, because the product may be too large for bigint. The sum over a cart is checked by the domain.
    CheckConstraint("unit_price >= 0 AND qty::numeric * unit_price <= 9007199254740991", name="amount"),
)
