"""The repository of products over several cells: each product comes from the repository of its cell."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from app.adapters.postgresql.product_repository import SqlProductRepository
from app.domain.events import Event
from app.domain.product import Product
from app.domain.stock import Batch
from app.service_layer.cells import CellMap
from app.service_layer.lock_sets import LockSet
from app.service_layer.product_ports import OverdueHolds

if TYPE_CHECKING:
    from app.adapters.postgresql.cell_work import CellWork

_REFS = "SELECT ref, sku FROM batch_refs WHERE ref = ANY($1::text[])"


class ProductsOverCells:
    """Implements `ProductRepository`."""

    def __init__(self, cells: CellMap, work: "Callable[[int], CellWork]", works: "Mapping[int, CellWork]") -> None:
        self._cells = cells
        self._work = work
        self._works = works
        self._owners: dict[str, str] = {}

    async def load(self, locks: LockSet, *, shared: bool = False) -> None:
        """Find the products of the batches that are named; then lock and fetch, cell by cell."""
        for cell, refs in by_cell(self._cells, locks.batch_refs):
            self._owners |= dict(await self._work(cell).connection.fetch(_REFS, refs))
        found = self._divide(locks)
        for cell in sorted(found):
            await self._work(cell).products.load(found[cell], shared=shared)

    def _divide(self, locks: LockSet) -> dict[int, LockSet]:
        """What is locked and read of products in each cell."""
        of = self._cells.of
        parts: defaultdict[int, LockSet] = defaultdict(LockSet)
        for sku in locks.skus:
            parts[of(sku)].skus.add(sku)
        for sku in locks.skus_to_create:
            parts[of(sku)].skus_to_create.add(sku)
        for sku, location in locks.locations:
            parts[of(sku)].locations.add((sku, location))
        for ref, sku in locks.batches_to_create:
            if ref not in self._owners:
                parts[of(sku)].batches_to_create.add((ref, sku))
                parts[of(sku)].batch_refs.add(ref)
        for ref in locks.batch_refs:
            if ref in self._owners:
                parts[of(self._owners[ref])].batch_refs.add(ref)
        for key, sku in locks.lines:
            # A line of a product that is not locked is not read.
            if (cell := of(sku)) in parts:
                parts[cell].lines.add((key, sku))
        return parts

    def get(self, sku: str) -> Product | None:
        """See `ProductRepository.get`."""
        return self._of(sku).get(sku)

    def get_or_create(self, sku: str) -> Product:
        """See `ProductRepository.get_or_create`."""
        return self._of(sku).get_or_create(sku)

    def sku_of_batch(self, ref: str) -> str | None:
        """See `ProductRepository.sku_of_batch`."""
        if ref in self._owners:
            return self._owners[ref]
        found = (work.products.sku_of_batch(ref) for work in self._works.values())
        return next((sku for sku in found if sku is not None), None)

    @property
    def locked_elsewhere(self) -> frozenset[str]:
        """See `ProductRepository.locked_elsewhere`."""
        return frozenset().union(*(work.products.locked_elsewhere for work in self._works.values()))

    def start_command(self) -> None:
        """See `ProductRepository.start_command`."""
        for work in self._works.values():
            work.products.start_command()

    def take_events(self) -> list[Event]:
        """See `ProductRepository.take_events`."""
        return [event for work in self._works.values() for event in work.products.take_events()]

    async def fetch_overdue_holds(self, *, limit: int) -> Sequence[OverdueHolds]:
        """See `ProductRepository.fetch_overdue_holds`."""
        overdue: list[OverdueHolds] = []
        for cell in sorted(self._works):
            found = await self._works[cell].products.fetch_overdue_holds(limit=limit)
            limit -= sum(len(each.keys) for each in found)
            overdue += found
        return overdue

    def take_expired(self) -> Sequence[Product]:
        """See `ProductRepository.take_expired`."""
        return [product for work in self._works.values() for product in work.products.take_expired()]

    async def fetch_on_hand(self, product: Product) -> None:
        """See `ProductRepository.fetch_on_hand`."""
        await self._of(product.sku).fetch_on_hand(product)

    async def fetch_last_in(self, product: Product, location: str) -> None:
        """See `ProductRepository.fetch_last_in`."""
        await self._of(product.sku).fetch_last_in(product, location)

    async def fetch_unfit(self, product: Product, *, limit: int) -> None:
        """See `ProductRepository.fetch_unfit`."""
        await self._of(product.sku).fetch_unfit(product, limit=limit)

    async def fetch_last_allocated(self, product: Product, batch: Batch, qty: int) -> None:
        """See `ProductRepository.fetch_last_allocated`."""
        await self._of(product.sku).fetch_last_allocated(product, batch, qty)

    async def fetch_allocated(
        self, product: Product, batch: Batch, *, max_qty: int, after: int, limit: int
    ) -> Sequence[str]:
        """See `ProductRepository.fetch_allocated`."""
        repository = self._of(product.sku)
        return await repository.fetch_allocated(product, batch, max_qty=max_qty, after=after, limit=limit)

    async def first_orders(self, product: Product, batch: Batch, *, limit: int) -> Sequence[str]:
        """See `ProductRepository.first_orders`."""
        return await self._of(product.sku).first_orders(product, batch, limit=limit)

    async def fetch_backorders(
        self, product: Product, *, max_qty: int, after: tuple[int, int], limit: int
    ) -> Sequence[str]:
        """See `ProductRepository.fetch_backorders`."""
        return await self._of(product.sku).fetch_backorders(product, max_qty=max_qty, after=after, limit=limit)

    async def fetch_for_redistribution(self, product: Product, *, below: int, limit: int) -> None:
        """See `ProductRepository.fetch_for_redistribution`."""
        await self._of(product.sku).fetch_for_redistribution(product, below=below, limit=limit)

    def _of(self, sku: str) -> SqlProductRepository:
        return self._work(self._cells.of(sku)).products


def by_cell(cells: CellMap, names: Iterable[str]) -> list[tuple[int, list[str]]]:
    """The names of each cell, sorted, in ascending order of the cells."""
    found: defaultdict[int, list[str]] = defaultdict(list)
    for name in sorted(names):
        found[cells.of(name)].append(name)
    return sorted(found.items())
