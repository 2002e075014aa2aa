"""Rules for mail: which events cause which mail to whom."""

from dataclasses import dataclass
from typing import Protocol

from app.integration.product_messages import (
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
    """The mail server has permanently refused the mail."""


class Mailer(Protocol):
    """Sends mail."""

    async def send(self, mail: Mail) -> None:
        """Send the mail. Raises MailRefusedError, or TemporarilyUnavailableError if it may be retried."""


@dataclass(slots=True)
class NotifiedProduct:
    """The state of a SKU between its events.

    `sequence` is that of the last event handled. `out_of_stock`: the buyers were notified that the SKU ran out.
    """

    sku: str
    sequence: int
    out_of_stock: bool


@dataclass(frozen=True, slots=True)
class Addresses:
    """The recipients. Without a warehouse address, the warehouse gets no mail."""

    stock: str
    warehouse: str | None


def handled_events(addresses: Addresses) -> dict[str, type[ProductMessage]]:
    """The types of the events that cause mail to these addresses, or that change whether another one does."""
    models: list[type[ProductMessage]] = [OutOfStockV1, LowStockV1, BatchCreatedV1, BatchQuantityChangedV1]
    if addresses.warehouse is not None:
        models.append(LineAllocatedV1)
    return {model.ce_type: model for model in models}


def react(
    message: ProductMessage, product: NotifiedProduct, known_batches: dict[str, int], addresses: Addresses
) -> Mail | None:
    """The mail that an event causes. Updates the states of the product and of its batches.

    The buyers get one mail when a SKU has run out, and the next only after a new batch or an increase of a batch. An
    unknown batch counts as increased: a repeated mail is better than a missing one. Each LowStock event causes a mail.
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
