"""Adds events to a database that was restored from a backup, so that new events get later sequences."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from app.adapters.postgresql.connections import begin
from app.adapters.postgresql.messages import shard_of

_SEQUENCES = text("SELECT sku, sequence FROM products WHERE sku = ANY(CAST(:skus AS text[]))")
_OTHERS = text("""
    SELECT DISTINCT e.subject
    FROM unnest(CAST(:skus AS text[]), CAST(:sequences AS bigint[]), CAST(:ids AS uuid[])) AS p(sku, sequence, id)
    JOIN events AS e ON e.subject = p.sku AND e.sequence = p.sequence
    WHERE e.message_id <> p.id
""")
# The events are history, and not published again: they are not in the outbox.
_INSERT_EVENTS = text("""
    INSERT INTO events
        (shard, subject, sequence, message_id, type, data, correlation_id, causation_id, traceparent, created_at)
    VALUES (:shard, :subject, :sequence, :id, :type, :data, :correlation_id, :causation_id, :traceparent, :time)
""")
# A product that was created after the backup is inserted without batches: its events must be numbered on as well.
_SET_SEQUENCES = text("""
    INSERT INTO products (sku, sequence)
    SELECT * FROM unnest(CAST(:skus AS text[]), CAST(:sequences AS bigint[]))
    ON CONFLICT (sku) DO UPDATE SET sequence = excluded.sequence WHERE products.sequence < excluded.sequence
""")


async def contradicted(engine: AsyncEngine, events: Sequence[Mapping[str, Any]]) -> frozenset[str]:
    """The SKUs for which the history has another event with the sequence of one of these.

    Raises DatabaseUnavailableError.
    """
    fields = {"skus": "subject", "sequences": "sequence", "ids": "id"}
    arguments = {name: [event[field] for event in events] for name, field in fields.items()}
    async with begin(engine) as connection:
        return frozenset((await connection.execute(_OTHERS, arguments)).scalars())


async def add_missing_events(engine: AsyncEngine, events: Sequence[Mapping[str, Any]]) -> frozenset[str]:
    """Insert the numbered events that the database lacks, and set the sequences of their products.

    An event has the fields of a CloudEvent as this service publishes it. Returns the SKUs whose events were missing.
    Raises DatabaseUnavailableError.
    """
    async with begin(engine) as connection:
        skus = list({event["subject"] for event in events})
        known = {row.sku: row.sequence for row in await connection.execute(_SEQUENCES, {"skus": skus})}
        # An event that was published twice is the same both times.
        missing = {
            (event["subject"], event["sequence"]): event
            for event in events
            if event["sequence"] > known.get(event["subject"], 0)
        }
        if not missing:
            return frozenset()
        # In the order of their sequences, because the ids of a product's events have that order.
        rows = [{**missing[place], "shard": shard_of(place[0])} for place in sorted(missing)]
        await connection.execute(_INSERT_EVENTS, rows)
        last = dict(sorted(missing))
        await connection.execute(_SET_SEQUENCES, {"skus": list(last), "sequences": list(last.values())})
        return frozenset(last)
