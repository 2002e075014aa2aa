"""The commands of the service.

Most commands are also the model of an HTTP body and of the data of a message, so parsing validates them.
"""

from app.domain.commands.base import Command
from app.domain.commands.batches import (
    BatchChanges,
    ChangeBatch,
    ChangeBatchEta,
    ChangeBatchIfMatch,
    ChangeBatchQuantity,
    ChangeBatchTerms,
    CountBatch,
    CreateBatch,
    CreateBatchIfMatch,
    Transfer,
    TransferBatch,
    WhyStockChanged,
)
from app.domain.commands.carts import (
    AddCartItem,
    Checkout,
    CheckOutCart,
    ItemValues,
    NewItem,
    RemoveCartItem,
    SetCartItem,
)
from app.domain.commands.lines import Allocate, CancelAllocation, ChangeLineQuantity, LineChanges, ShipLine
from app.domain.commands.many import MOST_ITEMS, AllocateMany, CreateBatches
from app.domain.commands.orders import (
    CancelOrder,
    HoldChanges,
    HoldOrder,
    NewOrder,
    OrderedLine,
    OrderedLines,
    PlaceOrder,
)
from app.domain.commands.products import (
    CountProduct,
    CountProductIfMatch,
    ExpireHolds,
    OnHandCount,
    Redistribute,
    RedistributionOrDryRun,
    ReorderPoint,
    ServeBackorders,
    SetReorderPoint,
)

__all__ = [
    "MOST_ITEMS",
    "AddCartItem",
    "Allocate",
    "AllocateMany",
    "BatchChanges",
    "CancelAllocation",
    "CancelOrder",
    "ChangeBatch",
    "ChangeBatchEta",
    "ChangeBatchIfMatch",
    "ChangeBatchQuantity",
    "ChangeBatchTerms",
    "ChangeLineQuantity",
    "CheckOutCart",
    "Checkout",
    "Command",
    "CountBatch",
    "CountProduct",
    "CountProductIfMatch",
    "CreateBatch",
    "CreateBatchIfMatch",
    "CreateBatches",
    "ExpireHolds",
    "HoldChanges",
    "HoldOrder",
    "ItemValues",
    "LineChanges",
    "NewItem",
    "NewOrder",
    "OnHandCount",
    "OrderedLine",
    "OrderedLines",
    "PlaceOrder",
    "Redistribute",
    "RedistributionOrDryRun",
    "RemoveCartItem",
    "ReorderPoint",
    "ServeBackorders",
    "SetCartItem",
    "SetReorderPoint",
    "ShipLine",
    "Transfer",
    "TransferBatch",
    "WhyStockChanged",
]
