"""The constraints of holds are validated, and their indexes built, without blocking writers.

Revision: 0008, after 0007
"""

import sqlalchemy as sa
from alembic import op

revision: str = "0008"
down_revision: str | None = "0007"
branch_labels: str | None = None
depends_on: str | None = None

_CONSTRAINTS = {
    "products": "held_qty",
    "batches": "part_of_allocated_is_held",
    "order_lines": "held_on_a_batch_until_shipped",
}
_INDEXES = {
    "ix_products_holds": ("products", ["earliest_hold_end"]),
    "ix_order_lines_held": ("order_lines", ["sku", "held_until"]),
}


def upgrade() -> None:
    # Each statement is a transaction of its own. A revision that was interrupted runs again from its first statement,
    # so an index of an interrupted run, which is invalid, is dropped first.
    with op.get_context().autocommit_block():
        for table, name in _CONSTRAINTS.items():
            op.execute(f"ALTER TABLE {table} VALIDATE CONSTRAINT ck_{table}_{name}")
        for name, (table, columns) in _INDEXES.items():
            op.drop_index(name, table_name=table, postgresql_concurrently=True, if_exists=True)
            op.create_index(
                name,
                table,
                columns,
                postgresql_where=sa.text(f"{columns[-1]} IS NOT NULL"),
                postgresql_concurrently=True,
            )


def downgrade() -> None:
    for name, (table, _) in _INDEXES.items():
        op.drop_index(name, table_name=table)
