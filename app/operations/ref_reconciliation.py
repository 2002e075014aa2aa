"""Compares the refs of batches with the batches, in both directions. With one cell there is nothing to compare."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial

from app.adapters.postgresql.cells import Cells
from app.adapters.postgresql.reconciliation_of_refs import Refs, RefStore
from app.operations.differences import Difference, Kind
from app.operations.patience import with_retries

PAGE = 2000
"""How many refs are read at a time. Their other sides are in any cell, so a page takes a statement for each cell."""

SETTLE = 1.0
"""Seconds after which a difference is read again. Until then a transaction may show on one of two servers only."""


class RefReconciliation:
    """One pass over the refs of all cells. `repair` inserts the refs that batches lack."""

    def __init__(self, cells: Cells, *, repair: bool) -> None:
        self._cells = range(cells.map.number) if cells.map.number > 1 else ()
        self._store = RefStore(cells)
        self._repair = repair

    async def differences(self) -> AsyncIterator[Difference]:
        """The batches without their ref, then the refs without their batch.

        Raises TemporarilyUnavailableError if the database stays unavailable.
        """
        for cell in self._cells:
            async for ref, sku, found in self._differing(partial(self._store.batches, cell), self._store.refs_of):
                text = f"batch {ref} has no ref" if found is None else f"the ref of batch {ref} names {found}"
                repaired = self._repair and await with_retries(partial(self._store.insert, ref, sku))
                yield Difference(Kind.BATCH_REF, sku, text, repaired)
        for cell in self._cells:
            async for ref, sku, _ in self._differing(partial(self._store.refs, cell), self._store.batches_of):
                yield Difference(Kind.BATCH_REF, sku, f"the ref {ref} has no batch")

    async def _differing(
        self, next_page: Callable[[str, int], Awaitable[Refs]], look_up: Callable[[Refs], Awaitable[Refs]]
    ) -> AsyncIterator[tuple[str, str, str | None]]:
        """The refs for which the other side has no SKU or another one: the ref, its SKU, and that of the other side."""
        after = ""
        while page := await with_retries(partial(next_page, after, PAGE)):
            found = await with_retries(partial(look_up, page))
            if differing := {ref: sku for ref, sku in page.items() if found.get(ref) != sku}:
                await asyncio.sleep(SETTLE)
                found = await with_retries(partial(look_up, differing))
            for ref, sku in differing.items():
                if found.get(ref) != sku:
                    yield ref, sku, found.get(ref)
            after = max(page)
