"""The statements of the unit of work: look-ups by key, whatever has gathered in the tables.

Every statement takes arrays, so that a group of commands costs as many statements as one command does. The LATERAL
look-ups are nested loops over an index by construction (LIMIT and OFFSET 0 keep them apart from what is around them);
no statistic can talk the planner out of them.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from itertools import count
from typing import Any

OWNERS = "SELECT ref, sku FROM batches WHERE ref = ANY($1::text[])"

CREATE_PRODUCTS = "INSERT INTO products (sku) SELECT unnest($1::text[]) ON CONFLICT (sku) DO NOTHING"

LOCK_PRODUCTS = """
    SELECT sku, sequence, backordered_qty, reorder_point FROM products
    WHERE sku = ANY($1::text[]) ORDER BY sku FOR NO KEY UPDATE
"""

# The same without a wait: products that another transaction holds are left out.
LOCK_FREE_PRODUCTS = f"{LOCK_PRODUCTS} SKIP LOCKED"

EXISTING_PRODUCTS = "SELECT sku FROM products WHERE sku = ANY($1::text[])"

# For the rest of a transaction. The limit that runs is not made longer, so it is ended first.
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

LOCK_ORDERS = "SELECT pg_advisory_xact_lock(key) FROM unnest($1::bigint[]) AS key"

# What was placed under the ids $1, and the SKUs of the lines that the orders have.
ORDERS = """
    SELECT named.order_id, o.lines, l.sku
    FROM unnest($1::text[]) AS named(order_id)
    LEFT JOIN LATERAL (SELECT lines FROM orders WHERE orders.order_id = named.order_id LIMIT 1) AS o ON true
    LEFT JOIN LATERAL (
        SELECT sku FROM order_lines WHERE order_lines.order_id = named.order_id OFFSET 0
    ) AS l ON true
"""

# The open batches of the SKUs $1, the batches with the refs $2, and the lines of the orders $3 and SKUs $4 with their
# batches. Rows of the first two kinds have no order.
BATCHES_AND_LINES = """
    SELECT b.sku, b.number, b.ref, b.first_qty, b.first_eta,
           b.qty, b.eta, b.allocated_qty, b.allocated_lines, b.shipped_qty,
           NULL::text, NULL::int, NULL::bigint, NULL::bigint, NULL::bigint
    FROM unnest($1::text[]) AS named(sku)
    CROSS JOIN LATERAL (SELECT * FROM batches WHERE batches.sku = named.sku AND has_stock OFFSET 0) AS b
    UNION ALL
    SELECT b.sku, b.number, b.ref, b.first_qty, b.first_eta,
           b.qty, b.eta, b.allocated_qty, b.allocated_lines, b.shipped_qty,
           NULL, NULL, NULL, NULL, NULL
    FROM unnest($2::text[]) AS named(ref)
    CROSS JOIN LATERAL (SELECT * FROM batches WHERE batches.ref = named.ref LIMIT 1) AS b
    UNION ALL
    SELECT l.sku, b.number, b.ref, b.first_qty, b.first_eta,
           b.qty, b.eta, b.allocated_qty, b.allocated_lines, b.shipped_qty,
           l.order_id, l.qty, l.requested, l.allocated, l.shipped
    FROM unnest($3::text[], $4::text[]) AS named(order_id, sku)
    CROSS JOIN LATERAL (
        SELECT * FROM order_lines o WHERE o.order_id = named.order_id AND o.sku = named.sku LIMIT 1
    ) AS l
    LEFT JOIN LATERAL (
        SELECT * FROM batches WHERE batches.sku = l.sku AND batches.number = l.batch_number LIMIT 1
    ) AS b ON true
"""

# The lines that the batch $1, $2 holds and received before $3, the one allocated last first, at most $4 of them.
LAST_ALLOCATED = """
    SELECT order_id, qty, requested, allocated FROM order_lines
    WHERE sku = $1 AND batch_number = $2 AND shipped IS NULL AND allocated < $3
    ORDER BY allocated DESC LIMIT $4
"""

# The lines that the batch $1, $2 holds, requested after $3 and of at most $4 pieces, the oldest $5 of them. There is no
# index in this order: it would be written at each allocation, and is asked for only where a batch is late.
ALLOCATED = """
    SELECT order_id, qty, requested, allocated FROM order_lines
    WHERE sku = $1 AND batch_number = $2 AND shipped IS NULL AND requested > $3 AND qty <= $4
    ORDER BY requested LIMIT $5
"""

# The orders of the first $3 lines that were allocated to the batch $1, $2 and have not been shipped.
FIRST_ORDERS = """
    SELECT order_id FROM order_lines
    WHERE sku = $1 AND batch_number = $2 AND shipped IS NULL ORDER BY allocated LIMIT $3
"""

# The queued lines of the SKU $1 that were requested after $2 and have at most $3 pieces, the oldest $4 of them.
BACKORDERS = """
    SELECT order_id, qty, requested FROM order_lines
    WHERE sku = $1 AND batch_number IS NULL AND requested > $2 AND qty <= $3 ORDER BY requested LIMIT $4
"""

_LINE = (
    "order_id text",
    "sku text",
    "qty int",
    "requested bigint",
    "batch_number bigint",
    "allocated bigint",
    "shipped bigint",
)

# The writes, by name: what to do with rows that come as one array for each column.
_WRITES: dict[str, tuple[str, tuple[str, ...]]] = {
    "delete_products": (
        "DELETE FROM products USING {rows} WHERE products.sku = new.sku",
        ("sku text",),
    ),
    "update_products": (
        """UPDATE products SET sequence = new.sequence, backordered_qty = new.backordered_qty,
                  reorder_point = new.reorder_point
           FROM {rows} WHERE products.sku = new.sku""",
        ("sku text", "sequence bigint", "backordered_qty bigint", "reorder_point int"),
    ),
    "insert_batches": (
        """INSERT INTO batches
           (sku, number, ref, first_qty, first_eta, qty, eta, allocated_qty, allocated_lines, shipped_qty)
           SELECT * FROM {rows}""",
        (
            "sku text",
            "number bigint",
            "ref text",
            "first_qty int",
            "first_eta date",
            "qty int",
            "eta date",
            "allocated_qty int",
            "allocated_lines int",
            "shipped_qty int",
        ),
    ),
    "update_batches": (
        """UPDATE batches SET qty = new.qty, eta = new.eta, allocated_qty = new.allocated_qty,
                  allocated_lines = new.allocated_lines, shipped_qty = new.shipped_qty
           FROM {rows} WHERE batches.sku = new.sku AND batches.number = new.number""",
        (
            "sku text",
            "number bigint",
            "qty int",
            "eta date",
            "allocated_qty int",
            "allocated_lines int",
            "shipped_qty int",
        ),
    ),
    "delete_lines": (
        "DELETE FROM order_lines o USING {rows} WHERE o.order_id = new.order_id AND o.sku = new.sku",
        ("order_id text", "sku text"),
    ),
    "update_lines": (
        """UPDATE order_lines o SET qty = new.qty, requested = new.requested,
                  batch_number = new.batch_number, allocated = new.allocated, shipped = new.shipped
           FROM {rows} WHERE o.order_id = new.order_id AND o.sku = new.sku""",
        _LINE,
    ),
    "insert_lines": (
        """INSERT INTO order_lines (order_id, sku, qty, requested, batch_number, allocated, shipped)
           SELECT * FROM {rows}""",
        _LINE,
    ),
    "delete_orders": (
        "DELETE FROM orders USING {rows} WHERE orders.order_id = new.order_id",
        ("order_id text",),
    ),
    "upsert_orders": (
        """INSERT INTO orders (order_id, lines) SELECT * FROM {rows}
           ON CONFLICT (order_id) DO UPDATE SET lines = excluded.lines, placed_at = now()""",
        ("order_id text", "lines text"),
    ),
    "insert_keys": (
        """INSERT INTO idempotency_keys (principal, key, fingerprint, status, headers, body)
           SELECT * FROM {rows}""",
        ("principal text", "key text", "fingerprint bytea", "status smallint", "headers json", "body bytea"),
    ),
    "insert_events": (
        """INSERT INTO events
           (shard, subject, sequence, type, data, correlation_id, causation_id, traceparent, principal)
           SELECT * FROM {rows} RETURNING id, shard""",
        (
            "shard smallint",
            "subject text",
            "sequence bigint",
            "type text",
            "data text",
            "correlation_id text",
            "causation_id text",
            "traceparent text",
            "principal text",
        ),
    ),
    "insert_outbox": ("INSERT INTO outbox (id, shard) SELECT id, shard FROM insert_events", ()),
    "note_commit": (
        """INSERT INTO commits (backend, token) SELECT pg_backend_pid(), new.token FROM {rows}
           ON CONFLICT (backend) DO UPDATE SET token = excluded.token""",
        ("token uuid",),
    ),
}

Row = tuple[Any, ...]
Writes = Mapping[str, Sequence[Row]]


def lock_number(kind: str, *name: str) -> int:
    """The number of the advisory lock on a name, the same in every process; kinds of names keep apart."""
    text = "\0".join((kind, *name)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), signed=True)


def write(writes: Writes) -> tuple[str, list[Sequence[Any]]]:
    """One statement that does all the writes, and its arguments; it returns the id of the transaction.

    What follows from a round trip (a commit's latency, a turn of the event loop) is paid once, however many tables
    change. Foreign keys are checked at the end of the statement, so the order of the writes does not matter.
    """
    names = tuple(name for name in _WRITES if writes.get(name))
    return _write_statement(names), [column for name in names for column in zip(*writes[name], strict=True)]


@cache
def _write_statement(names: Iterable[str]) -> str:
    placeholder = count(1)
    parts = []
    for name in names:
        template, columns = _WRITES[name]
        arrays = ", ".join(f"${next(placeholder)}::{column.rpartition(' ')[2]}[]" for column in columns)
        names_only = ", ".join(column.rpartition(" ")[0] for column in columns)
        parts.append(f"{name} AS ({template.format(rows=f'unnest({arrays}) AS new({names_only})')})")
    return f"WITH {', '.join(parts)} SELECT pg_current_xact_id()::text"
