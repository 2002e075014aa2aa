"""The statements of the repository: look-ups by key, whatever has gathered in the tables.

Every statement takes arrays, so that a group of commands costs as many statements as one command does. The LATERAL
look-ups are nested loops over an index by construction; no statistic can talk the planner out of them.
"""

from sqlalchemy import text

OWNERS = text("SELECT ref, sku FROM batches WHERE ref = ANY(CAST(:refs AS text[]))")

CREATE_PRODUCTS = text(
    "INSERT INTO products (sku) SELECT unnest(CAST(:skus AS text[])) ON CONFLICT (sku) DO NOTHING",
)

LOCK_PRODUCTS = text("""
    SELECT sku, sequence, backordered_qty FROM products
    WHERE sku = ANY(CAST(:skus AS text[])) ORDER BY sku FOR NO KEY UPDATE
""")

BATCHES = text("""
    SELECT b.sku, b.number, b.ref, b.qty, b.eta, b.allocated_qty, b.first_qty, b.first_eta
    FROM unnest(CAST(:skus AS text[])) AS named(sku)
    CROSS JOIN LATERAL (SELECT * FROM batches WHERE batches.sku = named.sku AND has_stock) AS b
    UNION ALL
    SELECT b.sku, b.number, b.ref, b.qty, b.eta, b.allocated_qty, b.first_qty, b.first_eta
    FROM unnest(CAST(:refs AS text[])) AS named(ref)
    CROSS JOIN LATERAL (SELECT * FROM batches WHERE batches.ref = named.ref LIMIT 1) AS b
""")

LINE_COLUMNS = """
    l.order_id, l.sku, l.qty AS line_qty, l.requested, l.allocated, l.batch_number,
    b.number, b.ref, b.qty, b.eta, b.allocated_qty, b.first_qty, b.first_eta
"""

NAMED_LINES = text(f"""
    SELECT {LINE_COLUMNS}
    FROM unnest(CAST(:order_ids AS text[]), CAST(:skus AS text[])) AS named(order_id, sku)
    CROSS JOIN LATERAL (
        SELECT * FROM order_lines o WHERE o.order_id = named.order_id AND o.sku = named.sku LIMIT 1
    ) AS l
    LEFT JOIN LATERAL (
        SELECT * FROM batches WHERE batches.sku = l.sku AND batches.number = l.batch_number LIMIT 1
    ) AS b ON true
""")  # noqa: S608 - only the names of columns are put in

# The sum of the lines before this one is what those that were allocated later make up.
LAST_ALLOCATED = text("""
    WITH RECURSIVE released AS (
        (SELECT order_id, qty, requested, allocated, CAST(qty AS bigint) AS total FROM order_lines
         WHERE sku = :sku AND batch_number = :number ORDER BY allocated DESC LIMIT 1)
        UNION ALL
        SELECT next.order_id, next.qty, next.requested, next.allocated, released.total + next.qty
        FROM released CROSS JOIN LATERAL (
            SELECT order_id, qty, requested, allocated FROM order_lines
            WHERE sku = :sku AND batch_number = :number AND allocated < released.allocated
            ORDER BY allocated DESC LIMIT 1
        ) AS next
        WHERE released.total < :qty
    )
    SELECT order_id, qty, requested, allocated FROM released
""")

BACKORDERS = text("""
    SELECT order_id, qty, requested FROM order_lines
    WHERE sku = :sku AND batch_number IS NULL AND requested > :after AND qty <= :max_qty
    ORDER BY requested LIMIT :limit
""")

DELETE_PRODUCTS = text("DELETE FROM products WHERE sku = ANY(CAST(:skus AS text[]))")

UPDATE_PRODUCTS = text("""
    UPDATE products SET sequence = new.sequence, backordered_qty = new.backordered_qty
    FROM unnest(CAST(:sku AS text[]), CAST(:sequence AS bigint[]), CAST(:backordered_qty AS bigint[]))
        AS new(sku, sequence, backordered_qty)
    WHERE products.sku = new.sku
""")

INSERT_BATCHES = text("""
    INSERT INTO batches (sku, number, ref, qty, eta, allocated_qty, first_qty, first_eta)
    SELECT * FROM unnest(
        CAST(:sku AS text[]), CAST(:number AS bigint[]), CAST(:ref AS text[]), CAST(:qty AS int[]),
        CAST(:eta AS date[]), CAST(:allocated_qty AS int[]), CAST(:first_qty AS int[]), CAST(:first_eta AS date[])
    )
""")

UPDATE_BATCHES = text("""
    UPDATE batches SET qty = new.qty, eta = new.eta, allocated_qty = new.allocated_qty
    FROM unnest(
        CAST(:sku AS text[]), CAST(:number AS bigint[]), CAST(:qty AS int[]), CAST(:eta AS date[]),
        CAST(:allocated_qty AS int[])
    ) AS new(sku, number, qty, eta, allocated_qty)
    WHERE batches.sku = new.sku AND batches.number = new.number
""")

DELETE_LINES = text("""
    DELETE FROM order_lines USING unnest(CAST(:order_id AS text[]), CAST(:sku AS text[])) AS gone(order_id, sku)
    WHERE order_lines.order_id = gone.order_id AND order_lines.sku = gone.sku
""")

INSERT_LINES = text("""
    INSERT INTO order_lines (order_id, sku, qty, requested, batch_number, allocated)
    SELECT * FROM unnest(
        CAST(:order_id AS text[]), CAST(:sku AS text[]), CAST(:qty AS int[]), CAST(:requested AS bigint[]),
        CAST(:batch_number AS bigint[]), CAST(:allocated AS bigint[])
    )
""")

UPDATE_LINES = text("""
    UPDATE order_lines
    SET qty = new.qty, requested = new.requested, batch_number = new.batch_number, allocated = new.allocated
    FROM unnest(
        CAST(:order_id AS text[]), CAST(:sku AS text[]), CAST(:qty AS int[]), CAST(:requested AS bigint[]),
        CAST(:batch_number AS bigint[]), CAST(:allocated AS bigint[])
    ) AS new(order_id, sku, qty, requested, batch_number, allocated)
    WHERE order_lines.order_id = new.order_id AND order_lines.sku = new.sku
""")
