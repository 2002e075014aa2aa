"""Who gets mail about what. The notifier reads the published events and asks here."""

from dataclasses import dataclass
from typing import Protocol

from app.integration.outbound import (
    BatchCreatedV1,
    BatchQuantityChangedV1,
    LineAllocatedV1,
    LowStockV1,
    OutOfStockV1,
    ProductMessage,
)


@dataclass(frozen=True, slots=True)
class Mail:
    """A mail to one address, in plain text."""

    to: str
    subject: str
    body: str


class MailRefusedError(Exception):
    """The mail server will never take this mail; trying again is of no use."""


class Mailer(Protocol):
    """Hands a mail to the world."""

    async def send(self, mail: Mail) -> None:
        """Send it. Raises MailRefusedError, or TemporarilyUnavailableError where it may be tried again."""


@dataclass(slots=True)
class NotifiedProduct:
    """What is remembered of a SKU between its events.

    `sequence` is the last event that was dealt with, and `out_of_stock` says that the buyers know that it has run out.
    """

    sku: str
    sequence: int
    out_of_stock: bool


@dataclass(frozen=True, slots=True)
class Addresses:
    """Who gets the mail; no warehouse address means that the warehouse gets none."""

    stock: str
    warehouse: str | None


INTERESTING: dict[str, type[ProductMessage]] = {
    model.ce_type: model
    for model in (OutOfStockV1, LowStockV1, BatchCreatedV1, BatchQuantityChangedV1, LineAllocatedV1)
}


def react(
    message: ProductMessage, product: NotifiedProduct, known_batches: dict[str, int], addresses: Addresses
) -> Mail | None:
    """The mail that an event calls for. Updates what is known of the product and of its batches.

    The buyers are told once that a SKU has run out; a new batch, or a batch that grew, makes the next time news again.
    A batch that was never read of before counts as grown: one mail too many is better than silence. Of low stock there
    is an event only when it has become so, and a mail for each.
    """
    match message:
        case OutOfStockV1() if not product.out_of_stock:
            product.out_of_stock = True
            return Mail(addresses.stock, f"Out of stock: {message.sku}", f"Out of stock for {message.sku}")
        case LowStockV1():
            text = f"Low stock for {message.sku}: {message.available_qty} left"
            return Mail(addresses.stock, text, text)
        case BatchQuantityChangedV1():
            if message.qty > known_batches.get(message.ref, -1):
                product.out_of_stock = False
            known_batches[message.ref] = message.qty
        case BatchCreatedV1():
            product.out_of_stock = False
            known_batches[message.ref] = message.qty
        case LineAllocatedV1() if addresses.warehouse is not None:
            return Mail(
                addresses.warehouse,
                f"Order {message.order_id} allocated",
                f"Order {message.order_id} allocated to {message.batch_ref}",
            )
        case _:
            pass
    return None
