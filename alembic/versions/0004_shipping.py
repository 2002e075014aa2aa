"""Shipped lines, and the number of lines that a batch holds.

Revision: 0004, after 0003
"""

import sqlalchemy as sa
from alembic import op

revision: str = "0004"
down_revision: str | None = "0003"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    op.add_column(
        "order_lines",
        sa.Column(
            "shipped",
            sa.BigInteger(),
            nullable=True,
            comment="sequence of the event that it has left; null: it has not",
        ),
    )
    op.create_check_constraint(
        op.f("ck_order_lines_shipped_from_a_batch"), "order_lines", "shipped IS NULL OR allocated IS NOT NULL"
    )
    op.drop_index("ix_order_lines_by_batch", table_name="order_lines")
    op.create_index(
        "ix_order_lines_by_batch",
        "order_lines",
        ["sku", "batch_number", "allocated"],
        postgresql_where=sa.text("batch_number IS NOT NULL AND shipped IS NULL"),
    )
    op.create_index(
        "ix_order_lines_shipped",
        "order_lines",
        ["sku", "batch_number"],
        postgresql_where=sa.text("shipped IS NOT NULL"),
    )
    op.alter_column("batches", "allocated_qty", comment="held and not shipped")
    op.add_column(
        "batches",
        sa.Column(
            "allocated_lines",
            sa.Integer(),
            server_default=sa.text("0"),
            nullable=False,
            comment="held and not shipped",
        ),
    )
    op.add_column("batches", sa.Column("shipped_qty", sa.Integer(), server_default=sa.text("0"), nullable=False))
    op.execute(
        """UPDATE batches AS b SET allocated_lines = held.lines
           FROM (SELECT sku, batch_number, count(*) AS lines FROM order_lines
                 WHERE batch_number IS NOT NULL GROUP BY sku, batch_number) AS held
           WHERE b.sku = held.sku AND b.number = held.batch_number"""
    )
    op.drop_constraint(op.f("ck_batches_never_oversold"), "batches", type_="check")
    op.create_check_constraint(op.f("ck_batches_never_negative"), "batches", "allocated_qty >= 0 AND shipped_qty >= 0")
    op.create_check_constraint(op.f("ck_batches_never_oversold"), "batches", "allocated_qty + shipped_qty <= qty")
    _make_has_stock("(allocated_qty + shipped_qty) < qty")


def downgrade() -> None:
    _make_has_stock("allocated_qty < qty")
    op.drop_constraint(op.f("ck_batches_never_oversold"), "batches", type_="check")
    op.drop_constraint(op.f("ck_batches_never_negative"), "batches", type_="check")
    op.create_check_constraint(op.f("ck_batches_never_oversold"), "batches", "allocated_qty BETWEEN 0 AND qty")
    op.drop_column("batches", "shipped_qty")
    op.drop_column("batches", "allocated_lines")
    op.alter_column("batches", "allocated_qty", comment=None)
    op.drop_index("ix_order_lines_shipped", table_name="order_lines")
    op.drop_index("ix_order_lines_by_batch", table_name="order_lines")
    op.create_index(
        "ix_order_lines_by_batch",
        "order_lines",
        ["sku", "batch_number", "allocated"],
        postgresql_where=sa.text("batch_number IS NOT NULL"),
    )
    op.drop_constraint(op.f("ck_order_lines_shipped_from_a_batch"), "order_lines", type_="check")
    op.drop_column("order_lines", "shipped")


def _make_has_stock(expression: str) -> None:
    """Replace a generated column, which cannot be altered, and its index."""
    op.drop_index("ix_batches_open", table_name="batches")
    op.drop_column("batches", "has_stock")
    op.add_column(
        "batches", sa.Column("has_stock", sa.Boolean(), sa.Computed(expression, persisted=True), nullable=False)
    )
    op.create_index("ix_batches_open", "batches", ["sku"], postgresql_where=sa.text("has_stock"))
