"""The statements of the unit of work: look-ups by key, whose cost does not depend on the size of the tables.

Statements that load a group take arrays, so their number does not depend on the number of commands. The LATERAL
look-ups use an index whatever the statistics are: LIMIT and OFFSET 0 keep the planner from merging them into the outer
query, and ORDER BY from choosing an index without that order.
"""

import hashlib

from app.adapters.postgresql.event_ids import LOCK_EVENTS, NEXT_BLOCK
from app.adapters.postgresql.rows import BatchRow, CartItemRow, CartRow, LineRow, ProductRow
from app.adapters.postgresql.tables import order_lines
from app.adapters.postgresql.usable import GOOD_THROUGH, LOCATION, QUEUE_RANK
from app.adapters.postgresql.writes import types_of

_PRODUCT = ", ".join(ProductRow._fields)
_LINE = ", ".join(LineRow._fields)
_LINE_OF_L = ", ".join(f"l.{name}" for name in LineRow._fields)
_NO_LINE = ", ".join(f"NULL::{kind}" for kind in types_of(order_lines, LineRow._fields))
_NO_BATCH = ", ".join("NULL" for _ in BatchRow._fields)
_ONLY_HELD_UNTIL = ", ".join("NULL" if name != "held_until" else "statement_timestamp()" for name in LineRow._fields)
_ONLY_IDS = ", ".join("NULL" if name != "number" else NEXT_BLOCK for name in BatchRow._fields)
_CART = ", ".join(f"c.{name}" for name in CartRow._fields)
_ITEM = ", ".join(f"i.{name}" for name in CartItemRow._fields)
_BATCH = ", ".join(f"b.{name}" for name in BatchRow._fields)

OWNERS = "SELECT ref, sku FROM batches WHERE ref = ANY($1::text[])"

CREATE_PRODUCTS = "INSERT INTO products (sku) SELECT unnest($1::text[]) ON CONFLICT (sku) DO NOTHING"

PRODUCTS = f"""
    SELECT {_PRODUCT} FROM products
    WHERE sku = ANY($1::text[]) ORDER BY sku
"""

LOCK_PRODUCTS = f"{PRODUCTS} FOR NO KEY UPDATE"

# The same without a wait: products that another transaction holds are left out.
LOCK_FREE_PRODUCTS = f"{LOCK_PRODUCTS} SKIP LOCKED"

EXISTING_PRODUCTS = "SELECT sku FROM products WHERE sku = ANY($1::text[])"

# PostgreSQL does not extend a running transaction_timeout, so it is switched off and set again.
EXTEND_TRANSACTION = "SET LOCAL transaction_timeout = 0; SET LOCAL transaction_timeout = '60s'"

LOCK_KEYS = "SELECT key, pg_try_advisory_xact_lock(key) FROM unnest($1::bigint[]) AS key"

# The answers that are stored under the principals $1 and keys $2.
STORED_ANSWERS = """
    SELECT a.principal, a.key, a.fingerprint, a.status, a.headers::text, a.body
    FROM unnest($1::text[], $2::text[]) AS named(principal, key)
    CROSS JOIN LATERAL (
        SELECT * FROM idempotency_keys k WHERE k.principal = named.principal AND k.key = named.key LIMIT 1
    ) AS a
"""

# The locks on orders or carts, by the hash of their names.
LOCK_NAMES = "SELECT pg_advisory_xact_lock(key) FROM unnest($1::bigint[]) AS key"

LOCKING = frozenset({LOCK_PRODUCTS, LOCK_FREE_PRODUCTS, LOCK_KEYS, LOCK_NAMES})
"""The statements that lock something before a transaction has written anything."""

# The carts $1 with their items: the columns of `CartRow`, then those of `CartItemRow` or nulls. The lock of the row is
# for housekeeping, which deletes old carts and does not lock their names.
CARTS = f"""
    SELECT {_CART}, {_ITEM}
    FROM unnest($1::text[]) AS named(cart_id)
    CROSS JOIN LATERAL (SELECT * FROM carts WHERE carts.cart_id = named.cart_id LIMIT 1 FOR NO KEY UPDATE) AS c
    LEFT JOIN LATERAL (SELECT * FROM cart_items WHERE cart_items.cart_id = c.cart_id OFFSET 0) AS i ON true
"""

# What was placed under the ids $1, and the SKUs and names of the lines that the orders have.
ORDERS = """
    SELECT named.order_id, o.lines, l.sku, l.line
    FROM unnest($1::text[]) AS named(order_id)
    LEFT JOIN LATERAL (SELECT lines FROM orders WHERE orders.order_id = named.order_id LIMIT 1) AS o ON true
    LEFT JOIN LATERAL (
        SELECT sku, line FROM order_lines WHERE order_lines.order_id = named.order_id OFFSET 0
    ) AS l ON true
"""

# The usable batches of the SKUs $1 that are good through the days $5, those of the SKUs $6 in the locations $7 that are
# good through the days $8, the batches with the refs $2, and the lines of the orders $3 and SKUs $4 with the names $9,
# with their batches: the columns of `BatchRow`, then those of `LineRow`. Rows of the first three kinds have no line.
# One row has neither batch nor line, but the time as `held_until`: this statement begins after the products are locked.
_BATCHES_AND_LINES = f"""
    SELECT {_BATCH}, {_NO_LINE}
    FROM unnest($1::text[], $5::date[]) AS named(sku, day)
    CROSS JOIN LATERAL (
        SELECT * FROM batches
        WHERE batches.sku = named.sku AND has_stock AND NOT blocked
          AND {GOOD_THROUGH} >= COALESCE(named.day, 'infinity'::date)
        ORDER BY {GOOD_THROUGH} OFFSET 0
    ) AS b
    UNION ALL
    SELECT {_BATCH}, {_NO_LINE}
    FROM unnest($6::text[], $7::text[], $8::date[]) AS named(sku, location, day)
    CROSS JOIN LATERAL (
        SELECT * FROM batches
        WHERE batches.sku = named.sku AND {LOCATION} = named.location AND has_stock AND NOT blocked
          AND {GOOD_THROUGH} >= COALESCE(named.day, 'infinity'::date)
        ORDER BY {LOCATION}, {GOOD_THROUGH} OFFSET 0
    ) AS b
    UNION ALL
    SELECT {_BATCH}, {_NO_LINE}
    FROM unnest($2::text[]) AS named(ref)
    CROSS JOIN LATERAL (SELECT * FROM batches WHERE batches.ref = named.ref LIMIT 1) AS b
    UNION ALL
    SELECT {_BATCH}, {_LINE_OF_L}
    FROM unnest($3::text[], $4::text[], $9::text[]) AS named(order_id, sku, line)
    CROSS JOIN LATERAL (
        SELECT * FROM order_lines o
        WHERE o.order_id = named.order_id AND o.sku = named.sku AND o.line = named.line LIMIT 1
    ) AS l
    LEFT JOIN LATERAL (
        SELECT * FROM batches WHERE batches.sku = l.sku AND batches.number = l.batch_number LIMIT 1
    ) AS b ON true
    UNION ALL
"""
BATCHES_AND_LINES = f"{_BATCHES_AND_LINES} SELECT {_NO_BATCH}, {_ONLY_HELD_UNTIL}"

# The same for a transaction that writes: that row has the first id of a block of ids for events as `number`.
BATCHES_LINES_AND_IDS = f"{LOCK_EVENTS} {_BATCHES_AND_LINES} SELECT {_ONLY_IDS}, {_ONLY_HELD_UNTIL}"

# The first $3 batches of the SKU $1 with free pieces that are blocked, or are not good through the day $2.
UNFIT = f"""
    SELECT {_BATCH} FROM batches b
    WHERE sku = $1 AND (blocked OR best_before IS NOT NULL) AND has_stock AND (blocked OR best_before < $2)
    ORDER BY number LIMIT $3
"""

# The batches of the SKU $1 in the warehouse that hold lines, those that are blocked or are not good through the day $2
# and have free pieces, and the one recorded last. The first part skips from batch to batch in the index of the lines
# that are held, so batches that were shipped completely are not read.
ON_HAND = f"""
    WITH RECURSIVE held (number) AS (
        (
            SELECT batch_number FROM order_lines
            WHERE sku = $1 AND batch_number IS NOT NULL AND shipped IS NULL ORDER BY batch_number LIMIT 1
        )
        UNION ALL
        SELECT (
            SELECT batch_number FROM order_lines
            WHERE sku = $1 AND batch_number > held.number AND shipped IS NULL ORDER BY batch_number LIMIT 1
        )
        FROM held WHERE held.number IS NOT NULL
    )
    SELECT {_BATCH}
    FROM held
    CROSS JOIN LATERAL (
        SELECT * FROM batches WHERE batches.sku = $1 AND batches.number = held.number AND eta IS NULL LIMIT 1
    ) AS b
    UNION ALL
    (
        SELECT {_BATCH} FROM batches b WHERE sku = $1 AND has_stock AND NOT blocked AND {GOOD_THROUGH} < $2
        AND eta IS NULL ORDER BY {GOOD_THROUGH}
    )
    UNION ALL
    (
        SELECT {_BATCH} FROM batches b WHERE sku = $1 AND (blocked OR best_before IS NOT NULL) AND blocked AND has_stock
        AND eta IS NULL ORDER BY number
    )
    UNION ALL
    (SELECT {_BATCH} FROM batches b WHERE b.sku = $1 AND b.eta IS NULL ORDER BY b.number DESC LIMIT 1)
"""

# The batch of the SKU $1 in the warehouse that was recorded last in the location $2.
LAST_IN = f"""
    SELECT {_BATCH} FROM batches b
    WHERE b.sku = $1 AND b.eta IS NULL AND {LOCATION} = $2 ORDER BY b.number DESC LIMIT 1
"""

# The holds of the SKUs $1 that have ended by the times $2, at most $3 of all together, each with its batch.
OVERDUE_HOLDS = f"""
    SELECT {_BATCH}, {_LINE_OF_L}
    FROM (
        SELECT o.* FROM unnest($1::text[], $2::timestamptz[]) AS named(sku, now)
        CROSS JOIN LATERAL (
            SELECT * FROM order_lines WHERE order_lines.sku = named.sku AND held_until <= named.now
            ORDER BY held_until, allocated LIMIT $3
        ) AS o
        LIMIT $3
    ) AS l
    CROSS JOIN LATERAL (
        SELECT * FROM batches WHERE batches.sku = l.sku AND batches.number = l.batch_number LIMIT 1
    ) AS b
"""

# The pieces of holds of the SKUs $1 that have ended by the times $2, behind each batch that has any.
OVERDUE_QUANTITIES = f"""
    SELECT {_BATCH}, overdue.qty
    FROM unnest($1::text[], $2::timestamptz[]) AS named(sku, now)
    CROSS JOIN LATERAL (
        SELECT batch_number, sum(qty) AS qty FROM order_lines
        WHERE order_lines.sku = named.sku AND held_until <= named.now GROUP BY batch_number
    ) AS overdue
    CROSS JOIN LATERAL (
        SELECT * FROM batches WHERE batches.sku = named.sku AND batches.number = overdue.batch_number LIMIT 1
    ) AS b
"""

# The end of the first hold of each SKU $1 that ends after the time $2.
NEXT_HOLD_ENDS = """
    SELECT named.sku, (
        SELECT held_until FROM order_lines WHERE order_lines.sku = named.sku AND held_until > named.now
        ORDER BY held_until LIMIT 1
    ) FROM unnest($1::text[], $2::timestamptz[]) AS named(sku, now)
"""

# The firm lines of the batch $1, $2 that it received before $3, the one allocated last first, at most $4 of them.
LAST_ALLOCATED = f"""
    SELECT {_LINE} FROM order_lines
    WHERE sku = $1 AND batch_number = $2 AND shipped IS NULL AND held_until IS NULL AND allocated < $3
    ORDER BY allocated DESC LIMIT $4
"""

# The same for lines that are held.
LAST_HELD = f"""
    SELECT {_LINE} FROM order_lines
    WHERE sku = $1 AND batch_number = $2 AND held_until IS NOT NULL AND allocated < $3
    ORDER BY allocated DESC LIMIT $4
"""

# The lines that the batch $1, $2 holds, requested after $3 and of at most $4 pieces, the oldest $5 of them. There is no
# index in this order: it would be written at each allocation, and is asked for only where a batch is late.
ALLOCATED = f"""
    SELECT {_LINE} FROM order_lines
    WHERE sku = $1 AND batch_number = $2 AND shipped IS NULL AND requested > $3 AND qty <= $4
    ORDER BY requested LIMIT $5
"""

# The orders of the first $3 firm lines that were allocated to the batch $1, $2 and have not been shipped.
FIRST_ORDERS = """
    SELECT order_id FROM order_lines
    WHERE sku = $1 AND batch_number = $2 AND shipped IS NULL AND held_until IS NULL ORDER BY allocated LIMIT $3
"""

# The queued lines of the SKU $1 behind the place $2, $3 in the queue that have at most $4 pieces, the first $5 of them.
# Lines that accept none of the locations $6, or need goods that are good for longer than $7, are left out.
BACKORDERS = f"""
    SELECT {_LINE} FROM order_lines
    WHERE sku = $1 AND batch_number IS NULL AND ({QUEUE_RANK}, requested) > ($2, $3) AND qty <= $4
      AND (locations IS NULL OR string_to_array(locations, ' ') && $6::text[])
      AND (good_until IS NULL OR good_until <= $7)
    ORDER BY {QUEUE_RANK}, requested LIMIT $5
"""

# The first $3 queued lines of the SKU $1 whose rank in the queue is at most $2.
URGENT_BACKORDERS = f"""
    SELECT {_LINE} FROM order_lines
    WHERE sku = $1 AND batch_number IS NULL AND {QUEUE_RANK} <= $2 ORDER BY {QUEUE_RANK}, requested LIMIT $3
"""

# The last $3 lines that were allocated of the SKU $1 with a greater rank than $2 and are not shipped, with their
# batches.
LESS_URGENT_LINES = f"""
    SELECT {_BATCH}, {_LINE_OF_L}
    FROM (
        SELECT * FROM order_lines
        WHERE sku = $1 AND batch_number IS NOT NULL AND shipped IS NULL AND {QUEUE_RANK} > $2
        ORDER BY allocated DESC LIMIT $3
    ) AS l
    CROSS JOIN LATERAL (
        SELECT * FROM batches WHERE batches.sku = l.sku AND batches.number = l.batch_number LIMIT 1
    ) AS b
"""


def lock_number(kind: str, *name: str) -> int:
    """The number of the advisory lock on a name, the same in every process; kinds of names keep apart."""
    text = "\0".join((kind, *name)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), signed=True)
