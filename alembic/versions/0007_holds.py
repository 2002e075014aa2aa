"""Holds: order lines whose allocation has an end, and their sums.

Revision: 0007, after 0006
"""

from alembic import op

revision: str = "0007"
down_revision: str | None = "0006"
branch_labels: str | None = None
depends_on: str | None = None

_HELD = "allocated pieces that are held"


def upgrade() -> None:
    # Columns that are null or have a constant default need no rewrite of their table, so each lock is short. Each table
    # is changed in a transaction of its own: commands lock the tables in several orders, and one transaction with locks
    # on two of them would deadlock with them. A revision that was interrupted runs again from its first statement.
    # The next revision checks the existing rows, without a lock that blocks writers.
    with op.get_context().autocommit_block():
        _alter(
            "order_lines",
            "held_on_a_batch_until_shipped",
            "held_until IS NULL OR (batch_number IS NOT NULL AND shipped IS NULL)",
            "held_until timestamptz",
        )
        _comment("order_lines", "held_until", "end of the hold; null: the line is not held")
        _alter(
            "batches",
            "part_of_allocated_is_held",
            "held_qty BETWEEN 0 AND allocated_qty",
            "held_qty integer NOT NULL DEFAULT 0",
        )
        _comment("batches", "held_qty", _HELD)
        _comment("batches", "allocated_qty", "of lines that are not shipped")
        _comment("batches", "allocated_lines", "firm and not shipped")
        _alter(
            "products",
            "held_qty",
            "held_qty >= 0",
            "held_qty bigint NOT NULL DEFAULT 0",
            "earliest_hold_end timestamptz",
            "hold_clock timestamptz",
        )
        _comment("products", "held_qty", _HELD)
        _comment("products", "earliest_hold_end", "at or before the end of each hold; null without holds")
        _comment("products", "hold_clock", "latest time that a decision about a hold was based on")


def _alter(table: str, constraint: str, condition: str, *columns: str) -> None:
    """Add columns, and a constraint for new rows, in statements that may run again.

    Citus adds a constraint only by a statement of its own.
    """
    name = f"ck_{table}_{constraint}"
    op.execute(f"ALTER TABLE {table} {', '.join(f'ADD COLUMN IF NOT EXISTS {column}' for column in columns)}")
    op.execute(f"ALTER TABLE {table} DROP CONSTRAINT IF EXISTS {name}")
    op.execute(f"ALTER TABLE {table} ADD CONSTRAINT {name} CHECK ({condition}) NOT VALID")


def _comment(table: str, column: str, comment: str) -> None:
    op.execute(f"COMMENT ON COLUMN {table}.{column} IS '{comment}'")


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
