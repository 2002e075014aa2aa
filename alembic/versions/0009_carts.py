"""Carts and their items.

Revision: 0009, after 0008
"""

import sqlalchemy as sa
from alembic import op

revision: str = "0009"
down_revision: str | None = "0008"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    op.create_table(
        "carts",
        sa.Column("cart_id", sa.Text(collation="C"), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False, comment="ISO 4217"),
        sa.Column("version", sa.BigInteger(), nullable=False, comment="changes so far"),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("order_id", sa.Text(collation="C"), comment="of the last checkout; null: not checked out"),
        sa.Column("changed_on", sa.Date(), nullable=False, server_default=sa.text("(now() AT TIME ZONE 'UTC')::date")),
        sa.CheckConstraint("currency ~ '^[A-Z]{3}$'", name=op.f("ck_carts_currency")),
        sa.CheckConstraint("version > 0", name=op.f("ck_carts_version")),
        sa.CheckConstraint("status IN ('open', 'checked_out', 'closed')", name=op.f("ck_carts_status")),
        sa.CheckConstraint("status = 'open' OR order_id IS NOT NULL", name=op.f("ck_carts_checked_out_as_an_order")),
        sa.PrimaryKeyConstraint("cart_id", name=op.f("pk_carts")),
        postgresql_with={"fillfactor": "70"},
    )
    op.create_index(op.f("ix_carts_changed_on"), "carts", ["changed_on"])
    op.create_table(
        "cart_items",
        sa.Column("cart_id", sa.Text(collation="C"), nullable=False),
        sa.Column("sku", sa.Text(collation="C"), nullable=False),
        sa.Column("qty", sa.Integer(), nullable=False),
        sa.Column("unit_price", sa.BigInteger(), nullable=False, comment="in minor units of the currency of the cart"),
        sa.CheckConstraint("qty > 0", name=op.f("ck_cart_items_qty")),
        sa.CheckConstraint(
            "unit_price >= 0 AND qty::numeric * unit_price <= 9007199254740991", name=op.f("ck_cart_items_amount")
        ),
        sa.ForeignKeyConstraint(["cart_id"], ["carts.cart_id"], name=op.f("fk_cart_items_carts"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("cart_id", "sku", name=op.f("pk_cart_items")),
    )


def downgrade() -> None:
    op.drop_table("cart_items")
    op.drop_table("carts")
