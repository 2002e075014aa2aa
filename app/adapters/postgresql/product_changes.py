"""What a transaction has read or written of products, and what has changed since."""

from collections import defaultdict
from collections.abc import Iterable

from app.adapters.postgresql import writes
from app.adapters.postgresql.rows import BatchRow, LineKey, LineRow, ProductKey, ProductRow
from app.adapters.postgresql.writes import Rows, Write, Writes
from app.domain.product import Product
from app.domain.stock import split_line_key


class ProductChanges:
    """Compares products in memory with their rows.

    A method that returns writes counts them as done: the next call returns only what has changed since.
    """

    def __init__(self) -> None:
        self._products: dict[str, ProductRow] = {}
        self._batches: dict[tuple[str, int], BatchRow] = {}
        self._lines: defaultdict[str, dict[str, LineRow]] = defaultdict(dict)

    def add_product(self, row: ProductRow) -> None:
        """Add the product as it was read."""
        self._products[row.sku] = row

    def add_batch(self, row: BatchRow) -> None:
        """Add the batch as it was read."""
        self._batches[row.sku, row.number] = row

    def add_line(self, row: LineRow) -> None:
        """Add the line as it was read."""
        self._lines[row.sku][row.key] = row

    def of(self, products: Iterable[Product]) -> Writes:
        """The writes of everything that has changed about the products."""
        products = list(products)
        return {**self._of_products(products), **self._of_batches(products), **self._of_lines(products)}

    def of_some_lines(self, product: Product, keys: Iterable[str]) -> Writes:
        """The writes of what has changed about the product, its batches and these lines.

        A long command works on more lines than it may compare again and again.
        """
        known = self._lines[product.sku]
        new: list[LineRow] = []
        changed: list[LineRow] = []
        ended: list[LineKey] = []
        for key in keys:
            allocation = product.allocations.get(key)
            if allocation is None:
                if known.pop(key, None) is not None:
                    ended.append(_key(key, product.sku))
                continue
            row, stored = LineRow.of(allocation), known.get(key)
            if stored != row:
                (new if stored is None else changed).append(row)
                known[key] = row
        lines: dict[Write, Rows] = {writes.DELETE_LINES: ended, writes.UPDATE_LINES: changed, writes.INSERT_LINES: new}
        return {**self._of_products([product]), **self._of_batches([product]), **lines}

    def forget_lines(self, sku: str, keys: Iterable[str]) -> None:
        """Forget lines that are written and were removed from memory."""
        known = self._lines[sku]
        for key in keys:
            known.pop(key, None)

    @staticmethod
    def of_unused(products: Iterable[Product]) -> Writes:
        """The write that deletes products which were inserted for a first batch that was refused."""
        return {writes.DELETE_PRODUCTS: [ProductKey(product.sku) for product in products if not product.sequence]}

    def _of_products(self, products: Iterable[Product]) -> Writes:
        changed = []
        for product in products:
            row = ProductRow.of(product)
            if self._products[product.sku] != row:
                self._products[product.sku] = row
                changed.append(row)
        return {writes.UPDATE_PRODUCTS: changed}

    def _of_batches(self, products: Iterable[Product]) -> Writes:
        new: list[BatchRow] = []
        changed: list[BatchRow] = []
        for product in products:
            for batch in product.batches.values():
                row = BatchRow.of(product.sku, batch)
                stored = self._batches.get((product.sku, batch.number))
                if stored != row:
                    (new if stored is None else changed).append(row)
                    self._batches[product.sku, batch.number] = row
        return {writes.INSERT_BATCHES: new, writes.UPDATE_BATCHES: changed}

    def _of_lines(self, products: Iterable[Product]) -> Writes:
        new: list[LineRow] = []
        changed: list[LineRow] = []
        cancelled: list[LineKey] = []
        for product in products:
            known = self._lines[product.sku]
            for key in [key for key in known if key not in product.allocations]:
                del known[key]
                cancelled.append(_key(key, product.sku))
            for key, allocation in product.allocations.items():
                row, stored = LineRow.of(allocation), known.get(key)
                if stored != row:
                    (new if stored is None else changed).append(row)
                    known[key] = row
        return {writes.DELETE_LINES: cancelled, writes.UPDATE_LINES: changed, writes.INSERT_LINES: new}


def _key(key: str, sku: str) -> LineKey:
    order_id, line = split_line_key(key)
    return LineKey(order_id, sku, line)
