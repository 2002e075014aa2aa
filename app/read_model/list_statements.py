"""The statements of the lists. Each list has an index in its order.

A page scans the index from the cursor until it is full. The count scans the same index from its beginning, up to
`COUNT_LIMIT` entries.
"""

from functools import cache

from sqlalchemy import TextClause, text

from app.adapters.postgresql.usable import GOOD_THROUGH, QUEUE_RANK, TODAY, USABLE, expired
from app.read_model.pagination import COUNT_LIMIT, MOST_ITEMS

# `indexed` is the condition of the index, `wanted` the filter on its entries, `behind` the start of the page. The
# limits that are known when the statement is planned decide its plan. The outermost one ends the index scan.
_PAGE = """
    WITH counted AS (
        SELECT count(*) FILTER (WHERE {wanted}) AS matching, count(*) AS examined
        FROM (
            SELECT {counted} FROM {table} AS t WHERE {indexed} ORDER BY {key} LIMIT {count_limit} + 1
        ) AS t {counted_with}
    )
    SELECT counted.matching, counted.examined, page.*
    FROM counted LEFT JOIN (
        SELECT * FROM (
            SELECT {columns} FROM {table} AS t {shown_with}
            WHERE {indexed} AND {wanted} AND {behind} ORDER BY {key} LIMIT {most_items} + 1
        ) AS shown ORDER BY {key} LIMIT :limit
    ) AS page ON true
    ORDER BY {key}
"""


# The order is that of the index of usable batches. Without it PostgreSQL may choose the primary key and read others.
WITH_AVAILABLE = f"""
    CROSS JOIN LATERAL (
        SELECT coalesce(sum(qty - allocated_qty - shipped_qty), 0) AS available_qty,
               coalesce(sum(qty - allocated_qty - shipped_qty) FILTER (WHERE eta IS NOT NULL), 0) AS incoming_qty,
               min(eta) AS next_eta
        FROM (SELECT * FROM batches WHERE batches.sku = t.sku AND {USABLE} ORDER BY {GOOD_THROUGH} OFFSET 0) AS usable
    ) AS stock
"""  # noqa: S608 - constants


def _page(**parts: str) -> TextClause:
    return text(_PAGE.format(**parts, count_limit=COUNT_LIMIT, most_items=MOST_ITEMS))


# A line that was placed before the column existed has the year 1970; the time is that of its first event.
_PLACED = """CASE WHEN t.placed_at > 'epoch' THEN t.placed_at ELSE (
    SELECT created_at FROM events WHERE subject = t.sku AND sequence = t.requested LIMIT 1
) END AS placed"""


@cache
def products(*, low_stock: bool, backordered: bool, sold_out: bool) -> TextClause:
    """Products by SKU, from `:sku` on."""
    wanted = ["t.has_backorders"] * backordered
    wanted += ["available_qty + t.held_qty < t.reorder_point"] * low_stock
    wanted += ["available_qty = 0"] * sold_out
    indexed = ["t.reorder_point IS NOT NULL"] * low_stock or ["t.has_backorders"] * backordered
    return _page(
        table="products",
        columns=(
            "t.sku, t.backordered_qty, t.reorder_point, t.held_qty,"
            " stock.available_qty, stock.incoming_qty, stock.next_eta"
        ),
        shown_with=WITH_AVAILABLE,
        counted="t.sku, t.has_backorders, t.reorder_point, t.held_qty",
        counted_with=WITH_AVAILABLE if low_stock or sold_out else "",
        indexed=" AND ".join(indexed) or "true",
        wanted=" AND ".join(wanted) or "true",
        behind="t.sku > :sku",
        key="sku",
    )


@cache
def batches(*, of_one_sku: bool, arriving: bool, late: bool, unfit: bool, by_eta: bool) -> TextClause:
    """Batches by SKU and number, or by ETA."""
    is_unfit = f"(t.blocked OR t.best_before < {TODAY}) AND t.allocated_qty > 0"
    days = ["t.eta <= :arriving_by"] * arriving + [f"t.eta < {TODAY}"] * late
    of_sku = ["t.sku = :sku"] * of_one_sku
    incoming = ["t.eta IS NOT NULL"] * (by_eta or bool(days))
    if by_eta:
        indexed, wanted = incoming + days, of_sku + [is_unfit] * unfit
        behind, key = "(t.eta, t.sku, t.number) > (:eta, :after, :position)", "eta, sku, number"
    else:
        indexed = of_sku + incoming + ["(t.blocked OR t.best_before IS NOT NULL)"] * unfit
        wanted = days + [is_unfit] * unfit
        behind = "t.number > :position" if of_one_sku else "(t.sku, t.number) > (:after, :position)"
        key = "number" if of_one_sku else "sku, number"
    return _page(
        table="batches",
        columns=(
            "t.ref, t.sku, t.number, t.qty, t.eta, t.allocated_qty, t.shipped_qty, t.held_qty, t.allocated_lines,"
            f" t.location, t.best_before, t.blocked, {expired('t')}"
        ),
        shown_with="",
        counted="t.sku, t.number, t.eta, t.blocked, t.best_before, t.allocated_qty",
        counted_with="",
        indexed=" AND ".join(indexed) or "true",
        wanted=" AND ".join(wanted) or "true",
        behind=behind,
        key=key,
    )


@cache
def backorders(*, of_one_sku: bool, by_age: bool) -> TextClause:
    """Backorders by SKU and place in the queue, or by the time they were placed: in a queue, by their requests."""
    keys = ["placed_at"] * (by_age and not of_one_sku) + ["sku"] * (not of_one_sku) + ["rank"] * (not by_age)
    keys.append("requested")
    columns = {"placed_at": "t.placed_at", "sku": "t.sku", "rank": QUEUE_RANK, "requested": "t.requested"}
    values = {"placed_at": ":placed_at", "sku": ":after", "rank": ":rank", "requested": ":position"}
    place, after = ", ".join(columns[key] for key in keys), ", ".join(values[key] for key in keys)
    return _page(
        table="order_lines",
        columns=f"t.*, {QUEUE_RANK} AS rank, NULL AS ref, NULL::date AS eta, {_PLACED}",
        shown_with="",
        counted=f"t.placed_at, t.sku, {QUEUE_RANK} AS rank, t.requested",
        counted_with="",
        indexed="t.batch_number IS NULL" + " AND t.sku = :sku" * of_one_sku,
        wanted="true",
        behind=f"({place}) > ({after})",
        key=", ".join(keys),
    )


# The limits of the two lists are those of their counts, so `:limit` may be applied to both before they are joined.
SHORTAGES = text(f"""
    WITH waiting AS (
        SELECT sku, backordered_qty, reorder_point, held_qty FROM products WHERE has_backorders
        ORDER BY sku LIMIT {COUNT_LIMIT + 1}
    ), watched AS (
        SELECT sku, backordered_qty, reorder_point, held_qty, has_backorders FROM products
        WHERE reorder_point IS NOT NULL ORDER BY sku LIMIT {COUNT_LIMIT + 1}
    ), low AS (
        SELECT t.sku, t.backordered_qty, t.reorder_point, t.held_qty,
               stock.available_qty, stock.incoming_qty, stock.next_eta
        FROM watched AS t {WITH_AVAILABLE}
        WHERE NOT t.has_backorders AND available_qty + t.held_qty < t.reorder_point
    )
    SELECT (SELECT count(*) FROM waiting) + (SELECT count(*) FROM low) AS matching,
           greatest((SELECT count(*) FROM waiting), (SELECT count(*) FROM watched)) AS examined, shown.*
    FROM (SELECT) AS always LEFT JOIN (
        SELECT * FROM (
            SELECT t.*, stock.available_qty, stock.incoming_qty, stock.next_eta
            FROM (SELECT * FROM waiting ORDER BY backordered_qty DESC, sku LIMIT :limit) AS t {WITH_AVAILABLE}
            UNION ALL
            (SELECT * FROM low ORDER BY reorder_point - available_qty - held_qty DESC, sku LIMIT :limit)
        ) AS found
        ORDER BY backordered_qty DESC, reorder_point - available_qty - held_qty DESC, sku LIMIT :limit
    ) AS shown ON true
    ORDER BY backordered_qty DESC, reorder_point - available_qty - held_qty DESC, sku
""")  # noqa: S608 - constants
"""Products with backorders, those with most waiting pieces first, then products below their reorder point."""


@cache
def lines_of(*, shipped: bool) -> TextClause:
    """The lines of the batch `:ref` that were shipped, or were not, in the order of the sequences of these events."""
    key = "shipped" if shipped else "allocated"
    return _page(
        table="order_lines",
        columns="t.*, CAST(:ref AS text) AS ref, (SELECT eta FROM batches WHERE ref = :ref) AS eta",
        shown_with="",
        counted=f"t.{key}",
        counted_with="",
        indexed=(
            "t.sku = (SELECT sku FROM batches WHERE ref = :ref)"  # noqa: S608 - constants
            " AND t.batch_number = (SELECT number FROM batches WHERE ref = :ref)"
            f" AND t.shipped IS {'NOT NULL' if shipped else 'NULL'}"
        ),
        wanted="true",
        behind=f"t.{key} > :position",
        key=key,
    )
