"""The rules of allocation in their simplest form: lists that are searched for every question.

Tests compare the service with it.
"""

from collections.abc import Callable, Iterable
from typing import Any

from app.domain.commands import (
    Allocate,
    CancelAllocation,
    CancelOrder,
    ChangeBatch,
    ChangeBatchEta,
    ChangeBatchQuantity,
    ChangeBatchTerms,
    ChangeLineQuantity,
    Command,
    CountBatch,
    CountProduct,
    CreateBatch,
    HoldOrder,
    PlaceOrder,
    SetReorderPoint,
    ShipLine,
)
from tests.support.naive_batches import NaiveBatches
from tests.support.naive_orders import NaiveOrders
from tests.support.naive_state import OutboxEvent, Refusal

__all__ = ["NaiveService", "OutboxEvent"]


class NaiveService(NaiveOrders, NaiveBatches):
    """The service as a whole."""

    def begin_group(self, commands: Iterable[Command]) -> set[str]:
        """Before anything else, holds end and goods expire of the products that the commands work on.

        Returns these products.
        """
        skus = {sku for command in commands for sku in self._products_of(command)}
        for sku in skus:
            self.let_time_pass(sku)
        return skus

    def play(self, command: Command) -> object:
        """The result of the command, or the code of its refusal."""
        before = {batch.sku: self.stock(batch.sku) for batch in self.batches}
        try:
            return self._play(command)
        except Refusal as refusal:
            return refusal.args[0]
        finally:
            for sku, stock in before.items():
                self.raise_level_events(stock, self.stock(sku))

    def _play(self, command: Command) -> object:
        if isinstance(command, ChangeBatchQuantity | ChangeBatchEta | ChangeBatchTerms | ChangeBatch | CountBatch):
            return self.change(**command.model_dump(exclude_unset=True))
        plays: dict[type[Command], Callable[[Any], object]] = {
            CreateBatch: self.create,
            Allocate: self.allocate,
            ChangeLineQuantity: self.change_line,
            CancelAllocation: self.cancel,
            ShipLine: self.ship,
            PlaceOrder: self.place_order,
            HoldOrder: self.hold_order,
            CancelOrder: self.cancel_order,
            SetReorderPoint: self.set_reorder_point,
            CountProduct: self.count_product,
        }
        return plays[type(command)](command)

    def _products_of(self, command: Command) -> set[str]:
        """The SKUs of the command, of its batch, and of the lines of its order."""
        named = command.model_dump(exclude_unset=True)
        skus = {named["sku"]} if "sku" in named else {line["sku"] for line in named.get("lines", [])}
        skus |= {batch.sku for batch in self.batches if batch.ref == named.get("ref")}
        if isinstance(command, PlaceOrder | HoldOrder | CancelOrder):
            skus |= {line.sku for line in self.lines_of(command.order_id)}
        return skus
