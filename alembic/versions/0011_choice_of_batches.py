"""Places, shelf life and blocking of batches, and what lines require of their batch.

Revision: 0011, after 0010
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision: str = "0011"
down_revision: str | None = "0010"
branch_labels: str | None = None
depends_on: str | None = None


# Columns that are null or have a constant default need no rewrite of their table, so each lock is short.
def _columns() -> dict[str, list[sa.Column[Any]]]:
    return {
        "products": [
            sa.Column(
                "next_expiry", sa.Date, comment="at or before the first day on which a batch expires; null: none does"
            )
        ],
        "batches": [
            sa.Column("location", sa.Text(collation="C"), comment="null: main"),
            sa.Column("best_before", sa.Date, comment="last day on which the goods are good; null: they do not expire"),
            sa.Column(
                "blocked",
                sa.Boolean,
                nullable=False,
                server_default=sa.text("false"),
                comment="nothing is allocated from it",
            ),
            sa.Column(
                "first_terms",
                sa.Text,
                comment="JSON: location, best_before and blocked as first recorded; null: defaults",
            ),
        ],
        "order_lines": [
            sa.Column("locations", sa.Text, comment="that may serve it, best first, separated by spaces; null: any"),
            sa.Column("good_until", sa.Date, comment="how long its goods have to be good; null: today"),
            sa.Column("queue_rank", sa.SmallInteger, comment="10 minus the priority; null: 5"),
        ],
    }


_BEST_BEFORE = sa.text("COALESCE(best_before, 'infinity'::date)")
_INDEXES = {
    "ix_products_expiring": ("products", ["next_expiry"], "next_expiry IS NOT NULL"),
    "ix_batches_usable": ("batches", ["sku", _BEST_BEFORE], "has_stock AND NOT blocked"),
    "ix_batches_usable_by_location": (
        "batches",
        ["sku", sa.text("COALESCE(location, 'main'::text)"), _BEST_BEFORE],
        "has_stock AND NOT blocked",
    ),
    "ix_order_lines_shipped_from": ("order_lines", ["sku", "batch_number", "shipped"], "shipped IS NOT NULL"),
    "ix_order_lines_queue": (
        "order_lines",
        ["sku", sa.text("COALESCE(queue_rank::integer, 5)"), "requested", "qty"],
        "batch_number IS NULL",
    ),
    "ix_batches_unfit": ("batches", ["sku", "number"], "blocked OR best_before IS NOT NULL"),
}


def upgrade() -> None:
    # Each statement is a transaction of its own: commands lock the tables in several orders, and a transaction with
    # locks on two of them would deadlock with them. A revision that was interrupted runs again from its beginning.
    with op.get_context().autocommit_block():
        for table, columns in _columns().items():
            for column in columns:
                op.add_column(table, column, if_not_exists=True)
        # The column is new, so no row violates it.
        rank = "ck_order_lines_queue_rank"
        op.execute(f"ALTER TABLE order_lines DROP CONSTRAINT IF EXISTS {rank}")
        op.execute(f"ALTER TABLE order_lines ADD CONSTRAINT {rank} CHECK (queue_rank BETWEEN 1 AND 10) NOT VALID")
        op.execute(f"ALTER TABLE order_lines VALIDATE CONSTRAINT {rank}")
        for name, (table, columns, condition) in _INDEXES.items():
            op.drop_index(name, table_name=table, postgresql_concurrently=True, if_exists=True)
            op.create_index(name, table, columns, postgresql_where=sa.text(condition), postgresql_concurrently=True)
        # The release before finds the open batches by their primary key meanwhile.
        op.drop_index("ix_batches_open", table_name="batches", postgresql_concurrently=True, if_exists=True)
        op.drop_index("ix_order_lines_shipped", table_name="order_lines", postgresql_concurrently=True, if_exists=True)


def downgrade() -> None:
    # The release before allocates from blocked and expired batches, and lines from any location.
    op.create_index("ix_batches_open", "batches", ["sku"], postgresql_where=sa.text("has_stock"))
    shipped = sa.text("shipped IS NOT NULL")
    op.create_index("ix_order_lines_shipped", "order_lines", ["sku", "batch_number"], postgresql_where=shipped)
    for name, (table, _, _) in _INDEXES.items():
        op.drop_index(name, table_name=table)
    for table, columns in _columns().items():
        for column in columns:
            op.drop_column(table, column.name)
