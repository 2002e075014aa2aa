"""The repository of products, as handlers and bus need it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from app.domain.events import Event
from app.domain.product import Product
from app.domain.stock import Batch
from app.service_layer.lock_sets import LockSet


@dataclass(frozen=True, slots=True)
class OverdueHolds:
    """Holds of a product that have ended, the first to end first, by their keys.

    `earliest_end` is a time before which no other hold of the product ends; None: there is no other one.
    """

    product: Product
    keys: Sequence[str]
    earliest_end: datetime | None


class ProductRepository(Protocol):
    """The products that the group of commands works on, each locked until the unit of work ends."""

    async def load(self, locks: LockSet, *, shared: bool = False) -> None:
        """Lock and fetch the rows, with a fixed number of statements.

        A `shared` unit of work does not wait for locked products: `locked_elsewhere` has the products that it left out.
        The `fetch_…` methods of a shared unit of work raise TooLargeToShareError where a command needs too many lines.
        """

    @property
    def locked_elsewhere(self) -> frozenset[str]:
        """The SKUs of the products that another transaction holds, so that `load` left them out."""

    def get(self, sku: str) -> Product | None:
        """The product; None where no batch of the SKU was ever recorded."""

    def get_or_create(self, sku: str) -> Product:
        """The product, or a new one for its first batch."""

    def sku_of_batch(self, ref: str) -> str | None:
        """The SKU of the batch of that ref; None until it has been recorded, by an earlier group or by this one."""

    def start_command(self) -> None:
        """Reset the count of fetched lines, because a command begins."""

    def take_events(self) -> list[Event]:
        """The events since the last call, those of each product oldest first. Call it once a command has ended."""

    async def fetch_on_hand(self, product: Product) -> None:
        """Put into the product its batches in the warehouse that have pieces on hand, and the one recorded last."""

    async def fetch_last_in(self, product: Product, location: str) -> None:
        """Put into the product the batch recorded last of those in the warehouse that are in this location."""

    async def fetch_overdue_holds(self, *, limit: int) -> Sequence[OverdueHolds]:
        """Put holds that have ended into the loaded products, at most `limit` of all products together.

        Returns the products that may have such holds. Of a product with more of them than fit, `earliest_end` is not
        later than its time, and its batches have the pieces of all of these holds as `overdue_qty`. Each line comes
        with its batch.
        """

    async def fetch_unfit(self, product: Product, *, limit: int) -> None:
        """Put batches with free pieces into the product that are blocked or have expired, at most `limit`."""

    def take_expired(self) -> Sequence[Product]:
        """The loaded products of which batches have expired, so that this is stored."""

    async def fetch_last_allocated(self, product: Product, batch: Batch, qty: int) -> None:
        """Put into the product the lines that a cut of the batch releases, until they make up `qty` pieces.

        These are the holds, then the firm lines, in both cases those that the batch received last.
        """

    async def fetch_allocated(
        self, product: Product, batch: Batch, *, max_qty: int, after: int, limit: int
    ) -> Sequence[str]:
        """Put the next lines that the batch holds into the product: of at most `max_qty`, requested later than `after`.

        Returns their keys, the oldest request first, at most `limit`.
        """

    async def first_orders(self, product: Product, batch: Batch, *, limit: int) -> Sequence[str]:
        """The orders of the first `limit` firm lines that were allocated to the batch, each order once."""

    async def fetch_backorders(
        self, product: Product, *, max_qty: int, after: tuple[int, int], limit: int
    ) -> Sequence[str]:
        """Put the next queued lines of at most `max_qty` pieces, behind the place `after`, into the product.

        Returns their keys, in the order of the queue, at most `limit`.
        """

    async def fetch_for_redistribution(self, product: Product, *, below: int, limit: int) -> None:
        """Put lines into the product: queued ones of the priority `below` or a higher one, and others on batches.

        At most `limit` of either: the first ones of the queue, and those of a lower priority that were allocated last.
        """
