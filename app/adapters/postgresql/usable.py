"""In SQL: whether lines can be allocated from a batch, like `Batch.available_qty` and `Batch.meets`."""

TODAY = "statement_timestamp()::date"
"""The current day, in the time zone of the connection."""

GOOD_THROUGH = "COALESCE(best_before, 'infinity'::date)"
"""The last day on which the goods of a batch are good. In this form it is in the index."""

LOCATION = "COALESCE(location, 'main')"
"""The location of a batch, as the index has it."""

IS_FIT = f"NOT blocked AND {GOOD_THROUGH} >= {TODAY}"
"""Whether a batch is neither blocked nor expired."""

USABLE = f"has_stock AND {IS_FIT}"
"""Whether a batch has pieces that can be allocated."""

CAN_BE_SERVED = f"""(
    (l.locations IS NULL AND l.good_until IS NULL) OR EXISTS (
        SELECT FROM batches WHERE batches.sku = l.sku AND {USABLE}
            AND (l.locations IS NULL OR {LOCATION} = ANY (string_to_array(l.locations, ' ')))
            AND (l.good_until IS NULL OR {GOOD_THROUGH} >= l.good_until)
            AND qty - allocated_qty - shipped_qty >= l.qty
    )
)"""
"""Whether a waiting line `l` requires nothing of its batch, or a batch that meets its requirements can hold it."""


def expired(table: str) -> str:
    """The column `is_expired`, like `Batch.is_expired`."""
    return f"coalesce({table}.best_before < {TODAY}, false) AS is_expired"


QUEUE_RANK = "COALESCE(queue_rank::integer, 5)"
"""The rank of a line in its queue, as the index of the queue has it."""
