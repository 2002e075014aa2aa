"""The name of a line, which distinguishes several lines of one order and SKU, and is part of the primary key.

Revision: 0012, after 0011
"""

import sqlalchemy as sa
from alembic import op

revision: str = "0012"
down_revision: str | None = "0011"
branch_labels: str | None = None
depends_on: str | None = None

_KEY = "pk_order_lines"
_NEW_KEY = "uq_order_lines_named"


def upgrade() -> None:
    # Each statement is a transaction of its own, as in 0011. The index is built beside the traffic, and the key is
    # replaced by it in one short transaction at the end. An interrupted revision runs again from its beginning.
    line = sa.Column(
        "line",
        sa.Text(collation="C"),
        nullable=False,
        server_default=sa.text("''"),
        comment="its name; empty: it has none",
    )
    with op.get_context().autocommit_block():
        op.add_column("order_lines", line, if_not_exists=True)
        op.drop_index(_NEW_KEY, table_name="order_lines", postgresql_concurrently=True, if_exists=True)
        op.create_index(_NEW_KEY, "order_lines", ["order_id", "sku", "line"], unique=True, postgresql_concurrently=True)
        op.execute(
            "COMMENT ON COLUMN orders.lines IS 'JSON: SKU, pieces, place in the queue and name of each, as placed'"
        )
    # Two statements in the transaction of the revision: Citus adds a constraint only by a statement of its own.
    op.execute(f"ALTER TABLE order_lines DROP CONSTRAINT IF EXISTS {_KEY}")
    op.execute(f"ALTER TABLE order_lines ADD CONSTRAINT {_KEY} PRIMARY KEY USING INDEX {_NEW_KEY}")


def downgrade() -> None:
    # Fails while an order has several lines of one SKU: the release before cannot distinguish them.
    op.drop_constraint(_KEY, "order_lines")
    op.create_primary_key(_KEY, "order_lines", ["order_id", "sku"])
    op.drop_column("order_lines", "line")
    op.execute("COMMENT ON COLUMN orders.lines IS 'JSON: SKU, pieces and place in the queue of each, as placed'")
