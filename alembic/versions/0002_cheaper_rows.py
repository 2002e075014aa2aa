"""The database assigns message ids, and looks up the product of a line only for lines without a batch.

Revision: 0002, after 0001
"""

import sqlalchemy as sa
from alembic import op

revision: str = "0002"
down_revision: str | None = "0001"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    op.alter_column("outbox", "message_id", server_default=sa.text("gen_random_uuid()"))
    op.drop_constraint(op.f("fk_order_lines_products"), "order_lines", type_="foreignkey")
    op.add_column(
        "order_lines",
        sa.Column(
            "waiting_sku",
            sa.Text(collation="C"),
            sa.Computed("CASE WHEN (batch_number IS NULL) THEN sku ELSE NULL::text END", persisted=True),
            nullable=True,
            comment="the SKU of a line in the queue",
        ),
    )
    op.create_foreign_key(op.f("fk_order_lines_products"), "order_lines", "products", ["waiting_sku"], ["sku"])


def downgrade() -> None:
    op.drop_constraint(op.f("fk_order_lines_products"), "order_lines", type_="foreignkey")
    op.drop_column("order_lines", "waiting_sku")
    op.create_foreign_key(op.f("fk_order_lines_products"), "order_lines", "products", ["sku"], ["sku"])
    op.alter_column("outbox", "message_id", server_default=None)
