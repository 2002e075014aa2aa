"""The time a line was placed, and indexes for backorders by age and batches by ETA.

Revision: 0010, after 0009
"""

import sqlalchemy as sa
from alembic import op

revision: str = "0010"
down_revision: str | None = "0009"
branch_labels: str | None = None
depends_on: str | None = None

_INDEXES = {
    "ix_order_lines_by_age": ("order_lines", ["placed_at", "sku", "requested"], "batch_number IS NULL"),
    "ix_batches_by_eta": ("batches", ["eta", "sku", "number"], "eta IS NOT NULL"),
}
# As a writer does, it locks the product first, so that it cannot deadlock with one.
_COPY_TIME = sa.text("""
    WITH locked AS (SELECT sku FROM products WHERE sku = :sku FOR NO KEY UPDATE)
    UPDATE order_lines AS l SET placed_at = e.created_at
    FROM locked JOIN events AS e ON e.subject = locked.sku
    WHERE l.sku = locked.sku AND l.batch_number IS NULL AND e.sequence = l.requested AND l.placed_at = 'epoch'
""")


def upgrade() -> None:
    # A revision that was interrupted runs again from its first statement, so each of them can be repeated.
    # A constant default needs no rewrite of the table: lines that were placed before get the year 1970.
    op.add_column(
        "order_lines",
        sa.Column(
            "placed_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("'1970-01-01 00:00:00+00'"),
            nullable=False,
            comment="time of its first event; 1970: placed before revision 0010",
        ),
        if_not_exists=True,
    )
    op.alter_column("order_lines", "placed_at", server_default=sa.text("statement_timestamp()"))
    # Each statement is a transaction of its own.
    with op.get_context().autocommit_block():
        connection = op.get_bind()
        for (sku,) in connection.execute(sa.text("SELECT sku FROM products WHERE has_backorders")).all():
            connection.execute(_COPY_TIME, {"sku": sku})
        for name, (table, columns, condition) in _INDEXES.items():
            op.drop_index(name, table_name=table, postgresql_concurrently=True, if_exists=True)
            op.create_index(name, table, columns, postgresql_where=sa.text(condition), postgresql_concurrently=True)


def downgrade() -> None:
    for name, (table, _, _) in _INDEXES.items():
        op.drop_index(name, table_name=table)
    op.drop_column("order_lines", "placed_at")
