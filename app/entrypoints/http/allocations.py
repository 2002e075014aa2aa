"""Order lines and the batches that serve them."""

from typing import Annotated

from fastapi import APIRouter, Path, Request, Response

from app.domain.commands import Allocate, CancelAllocation, OrderId, ShipLine, Sku
from app.entrypoints.http.answers import ALLOCATION, ALLOCATIONS, Answer
from app.entrypoints.http.context import cause_of
from app.entrypoints.http.identity import needs
from app.entrypoints.http.problems import documented
from app.entrypoints.http.route import ServiceRoute
from app.service_layer.results import AllocationState

router = APIRouter(prefix="/v1/allocations", tags=["allocations"], route_class=ServiceRoute)

OrderIdInPath = Annotated[OrderId, Path(description="The customer's order.")]
SkuInPath = Annotated[Sku, Path(description="The product.")]


@router.post(
    "",
    operation_id="allocate",
    summary="Allocate an order line",
    status_code=201,
    response_model=AllocationState,
    response_description="A batch serves the line.",
    responses={
        200: {"model": AllocationState, "description": "The same line was accepted before; here it is as it is now."},
        202: {"model": AllocationState, "description": "No batch can hold the line; it waits in the queue of its SKU."},
        **documented(
            "malformed-body",
            "invalid-sku",
            "out-of-stock",
            "allocation-conflict",
            "payload-too-large",
            "unsupported-media-type",
            "invalid-request",
            "overloaded",
        ),
    },
)
@needs("orders:write")
async def allocate(command: Allocate, request: Request) -> Response:
    """Gives the line to the one batch that serves it best: from the warehouse first, then by the earliest ETA.

    A line is allocated at most once, so the request can be sent again safely.
    """
    accepted = await request.app.state.bus.handle(command, cause_of(request))
    allocation = accepted.allocation
    fresh_status = 201 if allocation.status == "allocated" else 202
    return Answer(ALLOCATION.dump_json(allocation), fresh_status if accepted.created else 200)


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


@router.delete(
    "/{order_id}/{sku}",
    operation_id="cancelAllocation",
    summary="Cancel an order line",
    status_code=204,
    response_class=Response,
    response_description="The line is forgotten; what it held serves the lines that wait.",
    responses=documented("allocation-not-found", "already-shipped", "invalid-request", "overloaded"),
)
@needs("orders:write")
async def cancel_allocation(order_id: OrderIdInPath, sku: SkuInPath, request: Request) -> Response:
    """Frees the stock that the line held. A cancelled line is forgotten and may be placed anew."""
    await request.app.state.bus.handle(CancelAllocation(order_id=order_id, sku=sku), cause_of(request))
    return Response(status_code=204)


@router.post(
    "/{order_id}/{sku}/ship",
    operation_id="shipLine",
    summary="Note that an order line has left the house",
    response_model=AllocationState,
    response_description="The line as it is now; twice is once.",
    responses=documented("allocation-not-found", "not-allocated", "invalid-request", "overloaded"),
)
@needs("orders:write")
async def ship_line(order_id: OrderIdInPath, sku: SkuInPath, request: Request) -> Response:
    """From now on the line is neither cancelled nor moved, and its batch cannot be cut below what has left."""
    shipped = await request.app.state.bus.handle(ShipLine(order_id=order_id, sku=sku), cause_of(request))
    return Answer(ALLOCATION.dump_json(shipped))
