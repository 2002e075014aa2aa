"""Order lines and the batches that serve them."""

from typing import Annotated

from fastapi import APIRouter, Path, Request, Response

from app.domain.commands import Allocate, CancelAllocation, ChangeLineQuantity, LineChanges, ShipLine
from app.domain.fields import OrderId, Sku
from app.entrypoints.http.answers import ALLOCATION, ALLOCATIONS, PREVIEW, Answer
from app.entrypoints.http.examples import LINE_BODY, LINE_HELD, LINE_KNOWN
from app.entrypoints.http.idempotent_write import KEYED, documented_write, write
from app.entrypoints.http.identity import needs
from app.entrypoints.http.problems import documented
from app.entrypoints.http.query import DryRun, Line
from app.entrypoints.http.route import ServiceRoute
from app.entrypoints.http.services import queries_of
from app.read_model.dry_runs import AllocationPreview
from app.service_layer.results import AllocationState, LineAccepted

router = APIRouter(prefix="/v1/allocations", tags=["allocations"], route_class=ServiceRoute)

OrderIdInPath = Annotated[OrderId, Path(description="The id of the order.")]
SkuInPath = Annotated[Sku, Path(description="The SKU of the product.")]


@router.post(
    "",
    operation_id="allocate",
    summary="Allocate an order line",
    status_code=201,
    response_model=AllocationState,
    response_description="The line was allocated to a batch or held by it, or a held line was confirmed.",
    responses={
        201: LINE_HELD,
        200: {
            # The larger schema first: generated clients take the first one that fits.
            "model": AllocationPreview | AllocationState,
            "description": "The line was accepted before; this is its current state. With `dry_run`: the outcome.",
            **LINE_KNOWN,
        },
        202: {
            "model": AllocationState,
            "description": "No batch can hold the line, so it is backordered in the queue of its SKU.",
        },
        **documented_write(
            "malformed-body",
            "invalid-sku",
            "out-of-stock",
            "allocation-conflict",
            "payload-too-large",
            "unsupported-media-type",
        ),
    },
    openapi_extra=KEYED | LINE_BODY,
)
@needs("orders:write")
async def allocate(command: Allocate, request: Request, *, dry_run: DryRun = False) -> Response:
    """Allocates the line to one batch: the warehouse first, then the earliest ETA, then the goods that expire first.

    A line is allocated at most once, so the request can be repeated safely. With `hold_for` the batch only holds the
    pieces: the hold ends at `held_until`, unless the same request without `hold_for` has confirmed the line by then.
    Repeating a hold does not extend it. A hold never waits in the queue. With `dry_run=true` nothing is stored or
    published: the response has the outcome and its reason. A dry run is refused as the real request would be.
    """
    if dry_run:
        return Answer(PREVIEW.dump_json(await queries_of(request).dry_runs.allocate(command)))
    return await write(request, command, _accepted)


def _accepted(accepted: LineAccepted) -> Response:
    return Answer(ALLOCATION.dump_json(accepted.allocation), status_of_accepted(accepted))


def status_of_accepted(accepted: LineAccepted) -> int:
    """The HTTP status of an accepted line: 202 if it is backordered, 201 otherwise; 200 if nothing has changed."""
    if not accepted.changed:
        return 200
    return 202 if accepted.allocation.status == "backordered" else 201


@router.get(
    "/{order_id}",
    operation_id="getAllocations",
    summary="List the lines of an order",
    response_model=list[AllocationState],
    response_description="The lines of the order, by SKU and `line`.",
    responses=documented("order-not-found", "invalid-request"),
)
@needs("read")
async def get_allocations(order_id: OrderIdInPath, request: Request) -> Response:
    """Returns each line with its status, its batch and the ETA of the batch."""
    return Answer(ALLOCATIONS.dump_json(await queries_of(request).allocations(order_id)))


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
    order_id: OrderIdInPath, sku: SkuInPath, changes: LineChanges, request: Request, *, line: Line = ""
) -> Response:
    """Sets the quantity of the line in one transaction. Pieces that the line already holds are available to it.

    A smaller quantity always succeeds, and the freed pieces serve backorders. With a larger quantity the line stays on
    its batch if the batch can hold it; otherwise it moves to the batch that a new line would get. If no batch can hold
    it, the response is 409 `out-of-stock` and the line is unchanged. A backorder keeps its place in the queue, and a
    hold its end.
    Repeating the request changes nothing.
    """
    command = ChangeLineQuantity(order_id=order_id, sku=sku, line=line, qty=changes.qty)
    return await write(request, command, lambda changed: Answer(ALLOCATION.dump_json(changed)))


@router.delete(
    "/{order_id}/{sku}",
    operation_id="cancelAllocation",
    summary="Cancel an order line",
    status_code=204,
    response_class=Response,
    response_description="The line was removed; the pieces that it held serve backorders.",
    responses=documented_write("allocation-not-found", "already-shipped"),
    openapi_extra=KEYED,
)
@needs("orders:write")
async def cancel_allocation(order_id: OrderIdInPath, sku: SkuInPath, request: Request, *, line: Line = "") -> Response:
    """Removes the line and frees its stock. The line can be placed again later. Other lines of the SKU stay."""
    command = CancelAllocation(order_id=order_id, sku=sku, line=line)
    return await write(request, command, lambda _: Response(status_code=204))


@router.post(
    "/{order_id}/{sku}/ship",
    operation_id="shipLine",
    summary="Mark an order line as shipped",
    response_model=AllocationState,
    response_description="The shipped line. Repeating the request changes nothing.",
    responses=documented_write("allocation-not-found", "not-allocated", "not-confirmed"),
    openapi_extra=KEYED,
)
@needs("orders:write")
async def ship_line(order_id: OrderIdInPath, sku: SkuInPath, request: Request, *, line: Line = "") -> Response:
    """Marks the line as shipped.

    A shipped line cannot be cancelled, changed or moved, and the quantity of its batch cannot fall below the shipped
    quantity.
    """
    command = ShipLine(order_id=order_id, sku=sku, line=line)
    return await write(request, command, lambda shipped: Answer(ALLOCATION.dump_json(shipped)))
