"""Order lines and the batches that serve them."""

from typing import Annotated

from fastapi import APIRouter, Path, Request, Response

from app.domain.commands import Allocate, CancelAllocation, ChangeLineQuantity, LineChanges, ShipLine
from app.domain.fields import OrderId, Sku
from app.entrypoints.http.answers import ALLOCATION, ALLOCATIONS, PREVIEW, Answer
from app.entrypoints.http.idempotent_write import KEYED, documented_write, write
from app.entrypoints.http.identity import needs
from app.entrypoints.http.problems import documented
from app.entrypoints.http.query import DryRun
from app.entrypoints.http.route import ServiceRoute
from app.read_model.availability import EXPLANATIONS, AllocationPreview
from app.service_layer.results import AllocationState, LineAccepted

router = APIRouter(prefix="/v1/allocations", tags=["allocations"], route_class=ServiceRoute)

OrderIdInPath = Annotated[OrderId, Path(description="The customer's order.")]
SkuInPath = Annotated[Sku, Path(description="The product.")]

EXAMPLE_LINE = {
    "order_id": "order-1",
    "sku": "RED-CHAIR",
    "qty": 10,
    "status": "allocated",
    "batch_ref": "batch-1",
    "eta": "2030-01-01",
}
SAME_OR_PREVIEW = {
    "same": {"summary": "The same again", "value": EXAMPLE_LINE},
    "dry-run": {
        "summary": "With dry_run=true",
        "value": EXAMPLE_LINE | {"reason": "earliest_arrival", "explanation": EXPLANATIONS["earliest_arrival"]},
    },
}


@router.post(
    "",
    operation_id="allocate",
    summary="Allocate an order line",
    status_code=201,
    response_model=AllocationState,
    response_description="A batch serves the line.",
    responses={
        200: {
            # The larger schema first: generated clients take the first one that fits.
            "model": AllocationPreview | AllocationState,
            "description": "The same line was accepted before; here it is as it is now. Of a dry run: what would be.",
            "content": {"application/json": {"examples": SAME_OR_PREVIEW}},
        },
        202: {"model": AllocationState, "description": "No batch can hold the line; it waits in the queue of its SKU."},
        **documented_write(
            "malformed-body",
            "invalid-sku",
            "out-of-stock",
            "allocation-conflict",
            "payload-too-large",
            "unsupported-media-type",
        ),
    },
    openapi_extra=KEYED,
)
@needs("orders:write")
async def allocate(command: Allocate, request: Request, *, dry_run: DryRun = False) -> Response:
    """Gives the line to the one batch that serves it best: from the warehouse first, then by the earliest ETA.

    A line is allocated at most once, so the request can be sent again safely. With `dry_run=true` nothing is kept and
    nothing published: the answer says what would become of the line now, and why; a refusal is the same as without.
    """
    if dry_run:
        return Answer(PREVIEW.dump_json(await request.app.state.queries.foreseen.preview(command)))
    return await write(request, command, _accepted)


def _accepted(accepted: LineAccepted) -> Response:
    return Answer(ALLOCATION.dump_json(accepted.allocation), status_of_accepted(accepted))


def status_of_accepted(accepted: LineAccepted) -> int:
    """What a caller is told of a line that was not refused: made, waiting, or known before."""
    if not accepted.created:
        return 200
    return 201 if accepted.allocation.status == "allocated" else 202


@router.get(
    "/{order_id}",
    operation_id="getAllocations",
    summary="Show what became of an order",
    response_model=list[AllocationState],
    response_description="The lines of the order, by SKU.",
    responses=documented("order-not-found", "invalid-request"),
)
@needs("read")
async def get_allocations(order_id: OrderIdInPath, request: Request) -> Response:
    """Shows each line of the order: the batch that serves it and when that arrives, or that it waits."""
    return Answer(ALLOCATIONS.dump_json(await request.app.state.queries.allocations(order_id)))


@router.patch(
    "/{order_id}/{sku}",
    operation_id="changeLineQuantity",
    summary="Change the quantity of an order line",
    response_model=AllocationState,
    response_description="The line with its new quantity.",
    responses=documented_write(
        "malformed-body",
        "allocation-not-found",
        "already-shipped",
        "out-of-stock",
        "payload-too-large",
        "unsupported-media-type",
    ),
    openapi_extra=KEYED,
)
@needs("orders:write")
async def change_line_quantity(
    order_id: OrderIdInPath, sku: SkuInPath, changes: LineChanges, request: Request
) -> Response:
    """Sets how many pieces the line asks for, in one transaction; the pieces that it holds count as free for it.

    A smaller quantity always succeeds; what it frees serves the lines that wait. With a larger one the line stays on
    its batch where that holds it, and else moves to the batch that a new line would go to. Where no batch holds it, the
    answer is 409 `out-of-stock` and the line stays as it was. A line that waits keeps its place in the queue. The same
    quantity again changes nothing.
    """
    command = ChangeLineQuantity(order_id=order_id, sku=sku, qty=changes.qty)
    return await write(request, command, lambda changed: Answer(ALLOCATION.dump_json(changed)))


@router.delete(
    "/{order_id}/{sku}",
    operation_id="cancelAllocation",
    summary="Cancel an order line",
    status_code=204,
    response_class=Response,
    response_description="The line is forgotten; what it held serves the lines that wait.",
    responses=documented_write("allocation-not-found", "already-shipped"),
    openapi_extra=KEYED,
)
@needs("orders:write")
async def cancel_allocation(order_id: OrderIdInPath, sku: SkuInPath, request: Request) -> Response:
    """Frees the stock that the line held. A cancelled line is forgotten and may be placed anew."""
    return await write(request, CancelAllocation(order_id=order_id, sku=sku), lambda _: Response(status_code=204))


@router.post(
    "/{order_id}/{sku}/ship",
    operation_id="shipLine",
    summary="Note that an order line has left the house",
    response_model=AllocationState,
    response_description="The line as it is now; twice is once.",
    responses=documented_write("allocation-not-found", "not-allocated"),
    openapi_extra=KEYED,
)
@needs("orders:write")
async def ship_line(order_id: OrderIdInPath, sku: SkuInPath, request: Request) -> Response:
    """From now on the line is neither cancelled nor moved, and its batch cannot be cut below what has left."""
    command = ShipLine(order_id=order_id, sku=sku)
    return await write(request, command, lambda shipped: Answer(ALLOCATION.dump_json(shipped)))
