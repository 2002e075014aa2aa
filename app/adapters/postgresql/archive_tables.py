"""The table of the notes of which file has which events."""

from sqlalchemy import BigInteger, Column, DateTime, Identity, Index, LargeBinary, Table, Text, func

from app.adapters.postgresql.metadata import metadata

event_archives = Table(
    "event_archives",
    metadata,
    Column("number", BigInteger, Identity(always=True), primary_key=True),
    Column("file", Text, nullable=False, comment="its name when it was written"),
    Column("archived_before", DateTime(timezone=True), nullable=False, comment="all events in it are earlier"),
    Column("last_id", BigInteger, nullable=False, comment="all events up to this id are archived"),
    Column("events", BigInteger, nullable=False, comment="in this file"),
    Column("digest", LargeBinary, nullable=False, comment="SHA-256 of the file"),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Index(None, "archived_before"),
)
