"""Products, batches, order lines, inbox, outbox and dead letters.

Revision: 0001, the first
"""

import sqlalchemy as sa
from alembic import op

revision: str = "0001"
down_revision: str | None = None
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    op.create_table(
        "dead_letters",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("consumer", sa.Text(), nullable=False),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("partition", sa.Integer(), nullable=False),
        sa.Column("offset", sa.BigInteger(), nullable=False),
        sa.Column("timestamp", sa.BigInteger(), nullable=False, comment="of the record, in milliseconds"),
        sa.Column("message_id", sa.Text(collation="C"), nullable=True),
        sa.Column("key", sa.LargeBinary(), nullable=True),
        sa.Column("value", sa.LargeBinary(), nullable=True),
        sa.Column(
            "headers",
            sa.JSON(),
            nullable=False,
            comment="pairs of name and base64 value, in order",
        ),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column(
            "attempts", sa.Integer(), server_default=sa.text("1"), nullable=False, comment="how often it was given up"
        ),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_dead_letters")),
    )
    op.create_index(
        "uq_dead_letters_record",
        "dead_letters",
        ["consumer", "topic", "partition", "offset", "timestamp", sa.literal_column("md5(value)")],
        unique=True,
        postgresql_nulls_not_distinct=True,
    )
    op.create_index(
        "uq_dead_letters_message",
        "dead_letters",
        ["consumer", "message_id", sa.literal_column("md5(value)")],
        unique=True,
        postgresql_nulls_not_distinct=True,
        postgresql_where=sa.text("message_id IS NOT NULL"),
    )
    op.create_table(
        "inbox",
        sa.Column("message_id", sa.Text(collation="C"), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("message_id", name=op.f("pk_inbox")),
    )
    op.create_index(op.f("ix_inbox_received_at"), "inbox", ["received_at"], unique=False)
    op.create_table(
        "notified_batches",
        sa.Column("ref", sa.Text(collation="C"), nullable=False),
        sa.Column("qty", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("ref", name=op.f("pk_notified_batches")),
    )
    op.create_table(
        "notified_products",
        sa.Column("sku", sa.Text(collation="C"), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("out_of_stock", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("sku", name=op.f("pk_notified_products")),
    )
    op.create_table(
        "outbox",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column(
            "shard",
            sa.SmallInteger(),
            nullable=False,
            comment="stable hash of the SKU; a shard has one relay at a time",
        ),
        sa.Column("sku", sa.Text(collation="C"), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=True, comment="null: there is no product to count for"),
        sa.Column("message_id", sa.Uuid(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("data", sa.Text(), nullable=False, comment="JSON"),
        sa.Column("correlation_id", sa.Text(), nullable=False),
        sa.Column("causation_id", sa.Text(), nullable=False),
        sa.Column("traceparent", sa.Text(), nullable=True),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("statement_timestamp()"), nullable=False
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_outbox")),
        sa.UniqueConstraint("sku", "sequence", name=op.f("uq_outbox_sku_sequence")),
        postgresql_with={"autovacuum_vacuum_scale_factor": "0", "autovacuum_vacuum_threshold": "10000"},
    )
    op.create_table(
        "products",
        sa.Column("sku", sa.Text(collation="C"), nullable=False),
        sa.Column(
            "sequence", sa.BigInteger(), server_default=sa.text("0"), nullable=False, comment="events raised so far"
        ),
        sa.Column(
            "backordered_qty",
            sa.BigInteger(),
            server_default=sa.text("0"),
            nullable=False,
            comment="pieces in the queue",
        ),
        sa.CheckConstraint("backordered_qty >= 0", name=op.f("ck_products_backordered_qty")),
        sa.CheckConstraint("sequence >= 0", name=op.f("ck_products_sequence")),
        sa.PrimaryKeyConstraint("sku", name=op.f("pk_products")),
        postgresql_with={"fillfactor": "50"},
    )
    op.create_table(
        "relay_members",
        sa.Column("owner", sa.Text(collation="C"), nullable=False),
        sa.Column("alive_until", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("owner", name=op.f("pk_relay_members")),
    )
    op.create_table(
        "relay_shards",
        sa.Column("shard", sa.SmallInteger(), nullable=False),
        sa.Column("owner", sa.Text(collation="C"), nullable=True),
        sa.Column("leased_until", sa.DateTime(timezone=True), server_default=sa.text("'-infinity'"), nullable=False),
        sa.PrimaryKeyConstraint("shard", name=op.f("pk_relay_shards")),
    )
    # A fixed number of rows, so that relays divide them by updates only. Up to sixteen relays can share them.
    op.execute("INSERT INTO relay_shards (shard) SELECT generate_series(0, 15)")
    op.create_table(
        "batches",
        sa.Column("sku", sa.Text(collation="C"), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False, comment="sequence of the event that recorded it"),
        sa.Column("ref", sa.Text(collation="C"), nullable=False),
        sa.Column("qty", sa.Integer(), nullable=False),
        sa.Column("eta", sa.Date(), nullable=True, comment="null: in the warehouse"),
        sa.Column("allocated_qty", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("first_qty", sa.Integer(), nullable=False, comment="as first recorded"),
        sa.Column("first_eta", sa.Date(), nullable=True, comment="as first recorded"),
        sa.Column("has_stock", sa.Boolean(), sa.Computed("allocated_qty < qty", persisted=True), nullable=False),
        sa.CheckConstraint("allocated_qty BETWEEN 0 AND qty", name=op.f("ck_batches_never_oversold")),
        sa.CheckConstraint("qty >= 0", name=op.f("ck_batches_qty")),
        sa.ForeignKeyConstraint(["sku"], ["products.sku"], name=op.f("fk_batches_products")),
        sa.PrimaryKeyConstraint("sku", "number", name=op.f("pk_batches")),
        sa.UniqueConstraint("ref", name=op.f("uq_batches_ref")),
        postgresql_with={"fillfactor": "50"},
    )
    op.create_index("ix_batches_open", "batches", ["sku"], unique=False, postgresql_where=sa.text("has_stock"))
    op.create_table(
        "order_lines",
        sa.Column("order_id", sa.Text(collation="C"), nullable=False),
        sa.Column("sku", sa.Text(collation="C"), nullable=False),
        sa.Column("qty", sa.Integer(), nullable=False),
        sa.Column(
            "requested", sa.BigInteger(), nullable=False, comment="sequence of its first event: its place in the queue"
        ),
        sa.Column("batch_number", sa.BigInteger(), nullable=True, comment="null: it waits in the queue"),
        sa.Column(
            "allocated", sa.BigInteger(), nullable=True, comment="sequence of the event that gave it to its batch"
        ),
        sa.CheckConstraint(
            "(batch_number IS NULL) = (allocated IS NULL)", name=op.f("ck_order_lines_allocated_or_waiting")
        ),
        sa.CheckConstraint("qty > 0", name=op.f("ck_order_lines_qty")),
        sa.ForeignKeyConstraint(
            ["sku", "batch_number"], ["batches.sku", "batches.number"], name=op.f("fk_order_lines_batches")
        ),
        sa.ForeignKeyConstraint(["sku"], ["products.sku"], name=op.f("fk_order_lines_products")),
        sa.PrimaryKeyConstraint("order_id", "sku", name=op.f("pk_order_lines")),
    )
    op.create_index(
        "ix_order_lines_by_batch",
        "order_lines",
        ["sku", "batch_number", "allocated"],
        unique=False,
        postgresql_where=sa.text("batch_number IS NOT NULL"),
    )
    op.create_index(
        "ix_order_lines_waiting",
        "order_lines",
        ["sku", "requested", "qty"],
        unique=False,
        postgresql_where=sa.text("batch_number IS NULL"),
    )


def downgrade() -> None:
    op.drop_index(
        "ix_order_lines_waiting",
        table_name="order_lines",
        postgresql_where=sa.text("batch_number IS NULL"),
    )
    op.drop_index(
        "ix_order_lines_by_batch", table_name="order_lines", postgresql_where=sa.text("batch_number IS NOT NULL")
    )
    op.drop_table("order_lines")
    op.drop_index("ix_batches_open", table_name="batches", postgresql_where=sa.text("has_stock"))
    op.drop_table("batches")
    op.drop_table("relay_shards")
    op.drop_table("relay_members")
    op.drop_table("products")
    op.drop_table("outbox")
    op.drop_table("notified_products")
    op.drop_table("notified_batches")
    op.drop_index(op.f("ix_inbox_received_at"), table_name="inbox")
    op.drop_table("inbox")
    op.drop_index("uq_dead_letters_record", table_name="dead_letters")
    op.drop_index(
        "uq_dead_letters_message", table_name="dead_letters", postgresql_where=sa.text("message_id IS NOT NULL")
    )
    op.drop_table("dead_letters")
