"""The tables of messages that were received or could not be handled, and of what the notifier has read."""

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Identity,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    func,
    text,
)

from app.adapters.postgresql.metadata import Identifier, metadata

inbox = Table(
    "inbox",
    metadata,
    Column("message_id", Identifier, primary_key=True, comment="the id; see app/adapters/postgresql/messages.py"),
    Column("source", Text, comment="empty: none was given; null: received by a release that did not read it"),
    Column("content", LargeBinary, comment="digest of type and data; null where the source is"),
    Column("received_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Index(None, "received_at"),
)

dead_letters = Table(
    "dead_letters",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("consumer", Text, nullable=False),
    Column("topic", Text, nullable=False),
    Column("partition", Integer, nullable=False),
    Column("offset", BigInteger, nullable=False),
    Column("timestamp", BigInteger, nullable=False, comment="of the record, in milliseconds"),
    Column("message_id", Identifier),
    Column("key", LargeBinary),
    Column("value", LargeBinary),
    # Not jsonb, which takes no NUL: the names come from outside.
    Column("headers", JSON, nullable=False, comment="pairs of name and base64 value, in order"),
    Column("reason", Text, nullable=False),
    Column("attempts", Integer, nullable=False, server_default=text("1"), comment="how often it was given up"),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("content", LargeBinary, comment="digest of value and headers; null: kept by a release that made none"),
    # A record is kept once, however often it is delivered, and so is a message that was sent several times. An offset
    # alone is not enough to know a record by: a topic that was made anew gives it again.
    Index(
        "uq_dead_letters_record",
        "consumer",
        "topic",
        "partition",
        "offset",
        "timestamp",
        text("md5(value)"),
        unique=True,
        postgresql_nulls_not_distinct=True,
    ),
    Index(
        "uq_dead_letters_message_content",
        "consumer",
        "message_id",
        "content",
        unique=True,
        postgresql_where=text("message_id IS NOT NULL AND content IS NOT NULL"),
    ),
)

# What the notifier remembers of each SKU: how far it has read, and whether the buyers know that it has run out.
notified_products = Table(
    "notified_products",
    metadata,
    Column("sku", Identifier, primary_key=True),
    Column("sequence", BigInteger, nullable=False),
    Column("out_of_stock", Boolean, nullable=False),
)

# The quantities that the notifier has read of, to distinguish an increase from a cut.
notified_batches = Table(
    "notified_batches",
    metadata,
    Column("ref", Identifier, primary_key=True),
    Column("qty", Integer, nullable=False),
)
