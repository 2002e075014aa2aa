"""Holds: order lines whose allocation has an end, and their sums.

Revision: 0007, after 0006
"""

import sqlalchemy as sa
from alembic import op

revision: str = "0007"
down_revision: str | None = "0006"
branch_labels: str | None = None
depends_on: str | None = None

_TIME = sa.DateTime(timezone=True)
_HELD = "allocated pieces that are held"


def upgrade() -> None:
    # Columns that are null or have a constant default need no rewrite of their table, so each lock is short.
    op.add_column("order_lines", sa.Column("held_until", _TIME, comment="end of the hold; null: the line is not held"))
    op.add_column(
        "batches",
        sa.Column("held_qty", sa.Integer(), server_default=sa.text("0"), nullable=False, comment=_HELD),
    )
    op.alter_column("batches", "allocated_qty", comment="of lines that are not shipped")
    op.alter_column("batches", "allocated_lines", comment="firm and not shipped")
    op.add_column(
        "products",
        sa.Column("held_qty", sa.BigInteger(), server_default=sa.text("0"), nullable=False, comment=_HELD),
    )
    op.add_column(
        "products",
        sa.Column("earliest_hold_end", _TIME, comment="no hold ends before it; null: there is no hold"),
    )
    op.add_column(
        "products",
        sa.Column("hold_clock", _TIME, comment="latest time that a decision about a hold was based on"),
    )
    _check("products", "held_qty", "held_qty >= 0")
    _check("batches", "part_of_allocated_is_held", "held_qty BETWEEN 0 AND allocated_qty")
    _check(
        "order_lines",
        "held_on_a_batch_until_shipped",
        "held_until IS NULL OR (batch_number IS NOT NULL AND shipped IS NULL)",
    )


def _check(table: str, name: str, condition: str) -> None:
    """Add a constraint for new rows. The next revision checks the existing rows, without a lock that blocks writers."""
    op.create_check_constraint(op.f(f"ck_{table}_{name}"), table, condition, postgresql_not_valid=True)


def downgrade() -> None:
    # The previous release has no holds. A line that is held becomes firm, so that no stock is promised twice.
    op.execute(
        """UPDATE batches AS b SET allocated_lines = allocated_lines + held.lines
           FROM (SELECT sku, batch_number, count(*) AS lines FROM order_lines
                 WHERE held_until IS NOT NULL GROUP BY sku, batch_number) AS held
           WHERE b.sku = held.sku AND b.number = held.batch_number"""
    )
    op.execute("DELETE FROM orders WHERE lines LIKE '{%'")
    op.drop_constraint(op.f("ck_order_lines_held_on_a_batch_until_shipped"), "order_lines", type_="check")
    op.drop_constraint(op.f("ck_batches_part_of_allocated_is_held"), "batches", type_="check")
    op.drop_constraint(op.f("ck_products_held_qty"), "products", type_="check")
    op.drop_column("products", "hold_clock")
    op.drop_column("products", "earliest_hold_end")
    op.drop_column("products", "held_qty")
    op.alter_column("batches", "allocated_lines", comment="held and not shipped")
    op.alter_column("batches", "allocated_qty", comment="held and not shipped")
    op.drop_column("batches", "held_qty")
    op.drop_column("order_lines", "held_until")
