"""Events are kept, and the outbox points to those to publish; orders, keys of requests, reorder points, lists.

Revision: 0005, after 0004
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision: str = "0005"
down_revision: str | None = "0004"
branch_labels: str | None = None
depends_on: str | None = None

_IDENTIFIER = sa.Text(collation="C")
_SWEPT_BY_NUMBER = {"autovacuum_vacuum_scale_factor": "0", "autovacuum_vacuum_threshold": "10000"}


def upgrade() -> None:
    _keep_events()
    op.create_table(
        "orders",
        sa.Column("order_id", _IDENTIFIER, nullable=False),
        sa.Column(
            "lines", sa.Text(), nullable=False, comment="JSON: SKU, pieces and place in the queue of each, as placed"
        ),
        sa.Column("placed_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.PrimaryKeyConstraint("order_id", name=op.f("pk_orders")),
    )
    op.create_table(
        "idempotency_keys",
        sa.Column("principal", sa.Text(), nullable=False, comment="whose key it is; empty: nobody has to say who"),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.LargeBinary(), nullable=False, comment="digest of method, path and body"),
        sa.Column("status", sa.SmallInteger(), nullable=False),
        sa.Column("headers", sa.JSON(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.PrimaryKeyConstraint("principal", "key", name=op.f("pk_idempotency_keys")),
    )
    op.create_index("ix_idempotency_keys_created_at", "idempotency_keys", ["created_at"])
    op.add_column(
        "products", sa.Column("reorder_point", sa.Integer(), nullable=True, comment="null: nobody asked to be told")
    )
    op.create_check_constraint(op.f("ck_products_reorder_point"), "products", "reorder_point > 0")
    op.add_column(
        "products",
        sa.Column("has_backorders", sa.Boolean(), sa.Computed("backordered_qty > 0", persisted=True), nullable=False),
    )
    op.create_index("ix_products_watched", "products", ["sku"], postgresql_where=sa.text("reorder_point IS NOT NULL"))
    op.create_index("ix_products_backordered", "products", ["sku"], postgresql_where=sa.text("has_backorders"))
    op.create_index(
        "ix_batches_incoming", "batches", ["sku", "number", "eta"], postgresql_where=sa.text("eta IS NOT NULL")
    )


def _keep_events() -> None:
    """The outbox as it was becomes the table of events; what it held is all still to be published."""
    # Transactions that write finish before the copy; later ones fail and are retried, so nothing is lost.
    op.execute("LOCK TABLE outbox IN ACCESS EXCLUSIVE MODE")
    _create_messages(
        "events",
        sa.Column("subject", _IDENTIFIER, nullable=False, comment="the SKU; of an event of an order, its id"),
        "null: of an order, or of a product that is not there",
        sa.Column("principal", sa.Text(), nullable=True, comment="who asked; null: not known"),
        step=8192,  # See 0016.
    )
    op.create_index(
        "uq_events_of_product",
        "events",
        ["subject", "sequence"],
        unique=True,
        postgresql_where=sa.text("sequence IS NOT NULL"),
    )
    _copy("outbox", "sku", "events", "subject")
    op.drop_table("outbox")
    op.create_table(
        "outbox",
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False, comment="of the event"),
        sa.Column("shard", sa.SmallInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_outbox")),
        postgresql_with=_SWEPT_BY_NUMBER,
    )
    op.execute("INSERT INTO outbox (id, shard) SELECT id, shard FROM events")


def _create_messages(
    table: str, subject: sa.Column[str], sequence: str, *more: sa.Column[str], step: int | None = None, **options: Any
) -> None:
    op.create_table(
        table,
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True, increment=step), nullable=False),
        sa.Column(
            "shard",
            sa.SmallInteger(),
            nullable=False,
            comment="stable hash of the SKU; a shard has one relay at a time",
        ),
        subject,
        sa.Column("sequence", sa.BigInteger(), nullable=True, comment=sequence),
        sa.Column("message_id", sa.Uuid(), server_default=sa.func.gen_random_uuid(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("data", sa.Text(), nullable=False, comment="JSON"),
        sa.Column("correlation_id", sa.Text(), nullable=False),
        sa.Column("causation_id", sa.Text(), nullable=False),
        sa.Column("traceparent", sa.Text(), nullable=True),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.func.statement_timestamp(), nullable=False
        ),
        *more,
        sa.PrimaryKeyConstraint("id", name=op.f(f"pk_{table}")),
        **options,
    )


def _copy(source: str, source_subject: str, target: str, target_subject: str) -> None:
    """Copy what is still to be published, ids included, and let the ids go on from there."""
    columns = "sequence, message_id, type, data, correlation_id, causation_id, traceparent, created_at"
    op.execute(
        f"INSERT INTO {target} (id, shard, {target_subject}, {columns}) OVERRIDING SYSTEM VALUE"  # noqa: S608
        f" SELECT id, shard, {source_subject}, {columns} FROM {source}"
    )
    op.execute(
        f"SELECT setval(pg_get_serial_sequence('{target}', 'id'),"
        f" nextval(pg_get_serial_sequence('{source}', 'id')), false)"
    )


def downgrade() -> None:
    op.execute("LOCK TABLE events, outbox IN ACCESS EXCLUSIVE MODE")
    op.drop_index("ix_batches_incoming", table_name="batches")
    op.drop_index("ix_products_backordered", table_name="products")
    op.drop_index("ix_products_watched", table_name="products")
    op.drop_column("products", "has_backorders")
    op.drop_constraint(op.f("ck_products_reorder_point"), "products", type_="check")
    op.drop_column("products", "reorder_point")
    op.drop_table("idempotency_keys")
    op.drop_table("orders")
    op.execute("DELETE FROM events WHERE id NOT IN (SELECT id FROM outbox)")
    op.drop_table("outbox")
    _create_messages(
        "outbox",
        sa.Column("sku", _IDENTIFIER, nullable=False),
        "null: there is no product to count for",
        postgresql_with=_SWEPT_BY_NUMBER,
    )
    op.create_unique_constraint(op.f("uq_outbox_sku_sequence"), "outbox", ["sku", "sequence"])
    _copy("events", "subject", "outbox", "sku")
    op.drop_table("events")
