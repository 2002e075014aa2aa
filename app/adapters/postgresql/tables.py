"""The tables. Alembic creates them; a test compares the migrations with this module.

The constraints enforce the invariants: a batch cannot be oversold (CHECK), a line cannot exist twice (primary key)
or be on a batch of another SKU (composite foreign key), a batch ref cannot be used twice (UNIQUE), and a SKU cannot
have two events with one sequence (UNIQUE).
"""

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Computed,
    Date,
    DateTime,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    func,
    text,
)

from app.adapters.postgresql.archive_tables import event_archives
from app.adapters.postgresql.cart_tables import cart_items, carts
from app.adapters.postgresql.message_tables import dead_letters, inbox, notified_batches, notified_products
from app.adapters.postgresql.metadata import Identifier, metadata
from app.adapters.postgresql.process_tables import commit_tokens, commits, relay_members, relay_shards

__all__ = [
    "batch_refs",
    "batches",
    "cart_items",
    "carts",
    "commit_tokens",
    "commits",
    "dead_letters",
    "event_archives",
    "events",
    "idempotency_keys",
    "inbox",
    "metadata",
    "notified_batches",
    "notified_products",
    "order_lines",
    "orders",
    "outbox",
    "products",
    "relay_members",
    "relay_shards",
]

# The row is updated by every group that touches its SKU. No index names what such an update changes, and there is room
# on its page, so the updates stay there (heap-only tuples).
products = Table(
    "products",
    metadata,
    Column("sku", Identifier, primary_key=True),
    Column("sequence", BigInteger, nullable=False, server_default=text("0"), comment="events raised so far"),
    Column("backordered_qty", BigInteger, nullable=False, server_default=text("0"), comment="pieces in the queue"),
    Column("reorder_point", Integer, comment="null: nobody asked to be told"),
    Column("held_qty", BigInteger, nullable=False, server_default=text("0"), comment="allocated pieces that are held"),
    Column(
        "earliest_hold_end",
        DateTime(timezone=True),
        comment="at or before the end of each hold; null without holds",
    ),
    Column("hold_clock", DateTime(timezone=True), comment="latest time that a decision about a hold was based on"),
    Column("next_expiry", Date, comment="at or before the first day on which a batch expires; null: none does"),
    # A column of its own, as has_stock below: an index that named backordered_qty would be written at each change.
    Column("has_backorders", Boolean, Computed("backordered_qty > 0", persisted=True), nullable=False),
    CheckConstraint("sequence >= 0", name="sequence"),
    CheckConstraint("backordered_qty >= 0", name="backordered_qty"),
    CheckConstraint("reorder_point > 0", name="reorder_point"),
    CheckConstraint("held_qty >= 0", name="held_qty"),
    Index("ix_products_watched", "sku", postgresql_where=text("reorder_point IS NOT NULL")),
    Index("ix_products_backordered", "sku", postgresql_where=text("has_backorders")),
    # The column changes at most once a day.
    Index("ix_products_expiring", "next_expiry", postgresql_where=text("next_expiry IS NOT NULL")),
    # The column changes only when the hold that ends first has ended.
    Index("ix_products_holds", "earliest_hold_end", postgresql_where=text("earliest_hold_end IS NOT NULL")),
    postgresql_with={"fillfactor": "50"},
)

batches = Table(
    "batches",
    metadata,
    Column("sku", Identifier, ForeignKey("products.sku"), primary_key=True),
    Column("number", BigInteger, primary_key=True, comment="sequence of the event that recorded it"),
    Column("ref", Identifier, nullable=False),
    Column("qty", Integer, nullable=False),
    Column("eta", Date, comment="null: in the warehouse"),
    Column("allocated_qty", Integer, nullable=False, server_default=text("0"), comment="of lines that are not shipped"),
    Column("allocated_lines", Integer, nullable=False, server_default=text("0"), comment="firm and not shipped"),
    Column("shipped_qty", Integer, nullable=False, server_default=text("0")),
    Column("held_qty", Integer, nullable=False, server_default=text("0"), comment="allocated pieces that are held"),
    Column("first_qty", Integer, nullable=False, comment="as first recorded"),
    Column("first_eta", Date, comment="as first recorded"),
    Column("location", Identifier, comment="null: main"),
    Column("best_before", Date, comment="last day on which the goods are good; null: they do not expire"),
    Column("blocked", Boolean, nullable=False, server_default=text("false"), comment="nothing is allocated from it"),
    Column("first_terms", Text, comment="JSON: location, best_before and blocked as first recorded; null: defaults"),
    # A column of its own, because an index whose predicate names allocated_qty would have to be written at every
    # allocation. This one changes only when a batch runs out or is filled again.
    Column("has_stock", Boolean, Computed("(allocated_qty + shipped_qty) < qty", persisted=True), nullable=False),
    UniqueConstraint("ref"),
    CheckConstraint("qty >= 0", name="qty"),
    CheckConstraint("allocated_qty >= 0 AND shipped_qty >= 0", name="never_negative"),
    CheckConstraint("allocated_qty + shipped_qty <= qty", name="never_oversold"),
    CheckConstraint("held_qty BETWEEN 0 AND allocated_qty", name="part_of_allocated_is_held"),
    # The batches that lines can be allocated from. They are few however many were sold out before, are blocked, or have
    # expired: those come first among the batches of a SKU, and are not read.
    Index(
        "ix_batches_usable",
        "sku",
        text("COALESCE(best_before, 'infinity'::date)"),
        postgresql_where=text("has_stock AND NOT blocked"),
    ),
    Index(
        "ix_batches_usable_by_location",
        "sku",
        text("COALESCE(location, 'main'::text)"),
        text("COALESCE(best_before, 'infinity'::date)"),
        postgresql_where=text("has_stock AND NOT blocked"),
    ),
    Index(
        "ix_batches_unfit",
        "sku",
        "number",
        postgresql_where=text("blocked OR best_before IS NOT NULL"),
    ),
    Index("ix_batches_incoming", "sku", "number", "eta", postgresql_where=text("eta IS NOT NULL")),
    Index("ix_batches_by_eta", "eta", "sku", "number", postgresql_where=text("eta IS NOT NULL")),
    postgresql_with={"fillfactor": "50"},
)

# A ref is in the cell of its own name, and its batch in that of the product: UNIQUE (ref) above holds within a cell.
# With one cell this table is empty.
batch_refs = Table(
    "batch_refs",
    metadata,
    Column("ref", Identifier, primary_key=True),
    Column("sku", Identifier, nullable=False, comment="the product of the batch"),
)

order_lines = Table(
    "order_lines",
    metadata,
    Column("order_id", Identifier, primary_key=True),
    Column("sku", Identifier, primary_key=True),
    Column("line", Identifier, primary_key=True, server_default=text("''"), comment="its name; empty: it has none"),
    Column("qty", Integer, nullable=False),
    Column("requested", BigInteger, nullable=False, comment="sequence of its first event: its place in the queue"),
    Column("batch_number", BigInteger, comment="null: it waits in the queue"),
    Column("allocated", BigInteger, comment="sequence of the event that gave it to its batch"),
    Column("shipped", BigInteger, comment="sequence of the event that it has left; null: it has not"),
    Column("held_until", DateTime(timezone=True), comment="end of the hold; null: the line is not held"),
    Column("locations", Text, comment="that may serve it, best first, separated by spaces; null: any"),
    Column("good_until", Date, comment="how long its goods have to be good; null: today"),
    Column("queue_rank", SmallInteger, comment="10 minus the priority; null: 5"),
    # The statement that inserts the line also inserts its first event, with the same time.
    Column(
        "placed_at",
        DateTime(timezone=True),
        nullable=False,
        server_default=func.statement_timestamp(),
        comment="time of its first event; 1970: placed before revision 0010",
    ),
    # A line on a batch has the SKU of the batch; only one in the queue has to be looked up among the products. Each
    # look-up costs a tenth of what PostgreSQL spends on a line.
    Column(
        "waiting_sku",
        Identifier,
        Computed("CASE WHEN (batch_number IS NULL) THEN sku ELSE NULL::text END", persisted=True),
        comment="the SKU of a line in the queue",
    ),
    ForeignKeyConstraint(["waiting_sku"], ["products.sku"]),
    ForeignKeyConstraint(["sku", "batch_number"], ["batches.sku", "batches.number"]),
    CheckConstraint("qty > 0", name="qty"),
    CheckConstraint("queue_rank BETWEEN 1 AND 10", name="queue_rank"),
    CheckConstraint("(batch_number IS NULL) = (allocated IS NULL)", name="allocated_or_waiting"),
    CheckConstraint("shipped IS NULL OR allocated IS NOT NULL", name="shipped_from_a_batch"),
    CheckConstraint(
        "held_until IS NULL OR (batch_number IS NOT NULL AND shipped IS NULL)", name="held_on_a_batch_until_shipped"
    ),
    Index(
        "ix_order_lines_by_batch",
        "sku",
        "batch_number",
        "allocated",
        postgresql_where=text("batch_number IS NOT NULL AND shipped IS NULL"),
    ),
    # Firm lines are not in this index, so that it costs them nothing.
    Index("ix_order_lines_held", "sku", "held_until", postgresql_where=text("held_until IS NOT NULL")),
    Index(
        "ix_order_lines_shipped_from",
        "sku",
        "batch_number",
        "shipped",
        postgresql_where=text("shipped IS NOT NULL"),
    ),
    Index(
        "ix_order_lines_waiting",
        "sku",
        "requested",
        "qty",
        postgresql_where=text("batch_number IS NULL"),
    ),
    Index(
        "ix_order_lines_queue",
        "sku",
        text("COALESCE(queue_rank::integer, 5)"),
        "requested",
        "qty",
        postgresql_where=text("batch_number IS NULL"),
    ),
    Index("ix_order_lines_by_age", "placed_at", "sku", "requested", postgresql_where=text("batch_number IS NULL")),
)

CHANGES_OF_BATCHES = "('batch_quantity_changed.v1', 'batch_eta_changed.v1', 'batch_changed.v1')"
"""The types of events that change a batch, in SQL."""

EVENT_IDS_IN_A_BLOCK = 8192
"""How many ids belong to one value of the sequence: more than the events of nearly every transaction."""

# Written with the state, and kept: the history of every product. For one subject, id order is commit order: the ids are
# drawn while its product or its order is locked. With several cells that depends on clocks: see event_ids.py.
events = Table(
    "events",
    metadata,
    Column("id", BigInteger, Identity(always=True, increment=EVENT_IDS_IN_A_BLOCK), primary_key=True),
    Column("shard", SmallInteger, nullable=False, comment="stable hash of the SKU; a shard has one relay at a time"),
    Column("subject", Identifier, nullable=False, comment="the SKU; of an event of an order, its id"),
    Column("sequence", BigInteger, comment="null: of an order, or of a product that is not there"),
    Column("message_id", Uuid, nullable=False, server_default=func.gen_random_uuid()),
    Column("type", Text, nullable=False),
    Column("data", Text, nullable=False, comment="JSON"),
    Column("correlation_id", Text, nullable=False),
    Column("causation_id", Text, nullable=False),
    Column("traceparent", Text),
    # Not now(), which is when the transaction began: this is taken under the lock, so it never runs backwards.
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.statement_timestamp()),
    Column("principal", Text, comment="who asked; null: not known"),
    Column("place", BigInteger, comment="numbers the events of the subject that have no sequence; null: it has one"),
    Index("uq_events_of_product", "subject", "sequence", unique=True, postgresql_where=text("sequence IS NOT NULL")),
    # Not unique: after all of them were archived, they are numbered from 1 again.
    Index("ix_events_without_sequence", "subject", "place", postgresql_where=text("place IS NOT NULL")),
    # They are few among the events of lines, so the index costs those nothing.
    Index("ix_events_changes_of_batches", "id", postgresql_where=text(f"type IN {CHANGES_OF_BATCHES}")),
)

# The events that wait to be published. A row is a pointer, so that what the relay deletes again is small.
outbox = Table(
    "outbox",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False, comment="of the event"),
    Column("shard", SmallInteger, nullable=False),
    # Rows live for milliseconds, so the dead ones are swept by number, not by their share of the table.
    postgresql_with={"autovacuum_vacuum_scale_factor": "0", "autovacuum_vacuum_threshold": "10000"},
)

# What was placed as one order, to recognise a repeated order. Its lines are in order_lines. A row without any line left
# there has no meaning.
orders = Table(
    "orders",
    metadata,
    Column("order_id", Identifier, primary_key=True),
    Column("lines", Text, nullable=False, comment="JSON: SKU, pieces, place in the queue and name of each, as placed"),
    Column("placed_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)

# The answers to requests that bore a key, so that the same request again gets the same answer.
idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("principal", Text, primary_key=True, comment="whose key it is; empty: nobody has to say who"),
    Column("key", Text, primary_key=True),
    Column("fingerprint", LargeBinary, nullable=False, comment="digest of method, path and body"),
    Column("status", SmallInteger, nullable=False),
    Column("headers", JSON, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Index(None, "created_at"),
)
