"""What the service can be asked to do, in the imperative.

A command is the request body and the message data at once: parsing it is its validation. Besides its fields it says
what it names (`add_names`), so that a whole group of commands can be fetched and locked with a fixed number of
statements.
"""

from app.domain.commands.base import Command, Names
from app.domain.commands.batches import (
    BatchChanges,
    ChangeBatch,
    ChangeBatchEta,
    ChangeBatchQuantity,
    CreateBatch,
    CreateBatchIfMatch,
    WhyStockChanged,
)
from app.domain.commands.lines import Allocate, CancelAllocation, ChangeLineQuantity, LineChanges, ShipLine
from app.domain.commands.many import MOST_ITEMS, AllocateMany, CreateBatches
from app.domain.commands.orders import CancelOrder, NewOrder, OrderedLine, OrderedLines, PlaceOrder
from app.domain.commands.products import ReorderPoint, ServeBackorders, SetReorderPoint

__all__ = [
    "MOST_ITEMS",
    "Allocate",
    "AllocateMany",
    "BatchChanges",
    "CancelAllocation",
    "CancelOrder",
    "ChangeBatch",
    "ChangeBatchEta",
    "ChangeBatchQuantity",
    "ChangeLineQuantity",
    "Command",
    "CreateBatch",
    "CreateBatchIfMatch",
    "CreateBatches",
    "LineChanges",
    "Names",
    "NewOrder",
    "OrderedLine",
    "OrderedLines",
    "PlaceOrder",
    "ReorderPoint",
    "ServeBackorders",
    "SetReorderPoint",
    "ShipLine",
    "WhyStockChanged",
]
