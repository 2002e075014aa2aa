"""The table of all commands with their handlers, and the handler of dead letters.

A handler is an async function of a command and a unit of work. `GroupRun` begins and commits the unit of work.
"""

from app.domain.commands import (
    AddCartItem,
    Allocate,
    AllocateMany,
    CancelAllocation,
    CancelOrder,
    ChangeBatch,
    ChangeBatchEta,
    ChangeBatchIfMatch,
    ChangeBatchQuantity,
    ChangeBatchTerms,
    ChangeLineQuantity,
    CheckOutCart,
    Command,
    CountBatch,
    CountProduct,
    CountProductIfMatch,
    CreateBatch,
    CreateBatches,
    CreateBatchIfMatch,
    ExpireHolds,
    HoldOrder,
    PlaceOrder,
    Redistribute,
    RemoveCartItem,
    ServeBackorders,
    SetCartItem,
    SetReorderPoint,
    ShipLine,
    TransferBatch,
)
from app.integration.dead_letters import KeepDeadLetter
from app.service_layer.batch_handlers import (
    change_batch,
    change_batch_eta,
    change_batch_if_match,
    change_batch_quantity,
    change_batch_terms,
    count_batch,
    create_batch,
    create_batch_if_match,
    create_batches,
    transfer_batch,
)
from app.service_layer.cart_handlers import add_cart_item, check_out_cart, remove_cart_item, set_cart_item
from app.service_layer.line_handlers import (
    allocate,
    allocate_many,
    cancel_allocation,
    change_line_quantity,
    ship_line,
)
from app.service_layer.order_handlers import cancel_order, hold_order, place_order
from app.service_layer.ports import CommandHandler, UnitOfWork
from app.service_layer.product_handlers import (
    count_product,
    count_product_if_match,
    expire_holds,
    redistribute_stock,
    serve_backorders,
    set_reorder_point,
)


async def keep_dead_letter(command: KeepDeadLetter, uow: UnitOfWork) -> bool:
    """Store a message that cannot be handled. Returns whether it is new."""
    return await uow.dead_letters.add(command.letter)


COMMAND_HANDLERS: list[tuple[type[Command], CommandHandler]] = [
    (CreateBatch, create_batch),
    (CreateBatchIfMatch, create_batch_if_match),
    (CreateBatches, create_batches),
    (ChangeBatchQuantity, change_batch_quantity),
    (ChangeBatchEta, change_batch_eta),
    (ChangeBatchTerms, change_batch_terms),
    (ChangeBatch, change_batch),
    (ChangeBatchIfMatch, change_batch_if_match),
    (CountBatch, count_batch),
    (TransferBatch, transfer_batch),
    (Allocate, allocate),
    (AllocateMany, allocate_many),
    (ChangeLineQuantity, change_line_quantity),
    (CancelAllocation, cancel_allocation),
    (ShipLine, ship_line),
    (PlaceOrder, place_order),
    (HoldOrder, hold_order),
    (CancelOrder, cancel_order),
    (SetCartItem, set_cart_item),
    (AddCartItem, add_cart_item),
    (RemoveCartItem, remove_cart_item),
    (CheckOutCart, check_out_cart),
    (SetReorderPoint, set_reorder_point),
    (CountProduct, count_product),
    (CountProductIfMatch, count_product_if_match),
    (ServeBackorders, serve_backorders),
    (Redistribute, redistribute_stock),
    (ExpireHolds, expire_holds),
    (KeepDeadLetter, keep_dead_letter),
]
