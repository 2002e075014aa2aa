"""Compares redundant data of all cells page by page while the service runs, and repairs it on request."""

import logging
import uuid
from collections import Counter
from collections.abc import AsyncIterator

from app.bootstrap import Service
from app.observability import metrics
from app.operations.differences import Difference, Kind
from app.operations.product_reconciliation import ProductReconciliation
from app.operations.ref_reconciliation import RefReconciliation
from app.service_layer.ports import Cause

__all__ = ["Difference", "Kind", "Reconciliation", "check", "initialize_metrics"]

log = logging.getLogger(__name__)

PAGE = 100


def initialize_metrics() -> None:
    """Create the metrics with 0, because an alert detects the first difference only as an increase."""
    for kind in Kind:
        metrics.reconcile_differences.labels(kind)
    # The epoch: an alert fires if no check completes.
    metrics.reconcile_last_complete.set(0)


async def check(service: Service) -> None:
    """Find differences without repairing them. Count them, and log a warning for each kind."""
    found: Counter[Kind] = Counter()
    first: dict[Kind, str] = {}
    walk = Reconciliation(service)
    async for difference in walk.differences():
        found[difference.kind] += 1
        first.setdefault(difference.kind, difference.line)
    for kind, number in found.items():
        log.warning("differences of kind %s: %d; the first: %s", kind, number, first[kind])
    if walk.unchecked:
        log.warning("products that could not be compared: %d", walk.unchecked)
    else:
        metrics.reconcile_last_complete.set_to_current_time()


class Reconciliation:
    """One pass over all cells. `repair` fixes what can be fixed; `page_size` bounds the rows in memory."""

    def __init__(self, service: Service, *, repair: bool = False, page_size: int = PAGE) -> None:
        run = f"reconcile-{uuid.uuid4().hex}"
        cause = Cause(causation_id=run, correlation_id=run)
        self._products = [
            ProductReconciliation(service.bus, engine, cause, repair=repair, page_size=page_size)
            for engine in service.cells.engines
        ]
        self._refs = RefReconciliation(service.cells, repair=repair)

    @property
    def unchecked(self) -> int:
        """Products whose comparison failed, each with a line in the log. The others are compared."""
        return sum(products.unchecked for products in self._products)

    async def differences(self) -> AsyncIterator[Difference]:
        """Every difference of each cell: those of the products by SKU, then those of events without a product.

        With several cells, those of the refs of batches follow. Raises TemporarilyUnavailableError if the database
        stays unavailable.
        """
        walks = [*(products.differences() for products in self._products), self._refs.differences()]
        for walk in walks:
            async for difference in walk:
                metrics.reconcile_differences.labels(difference.kind).inc()
                yield difference
