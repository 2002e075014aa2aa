"""Orders of several lines."""

from typing import Annotated

from fastapi import APIRouter, Path, Request, Response

from app.domain.commands import CancelOrder, HoldChanges, HoldOrder, NewOrder, PlaceOrder
from app.domain.fields import OrderId
from app.entrypoints.http.answers import ORDER, ORDER_PREVIEW, Answer
from app.entrypoints.http.examples import HOLD_BODY, ORDER_BODY, ORDER_HELD, ORDER_KNOWN
from app.entrypoints.http.idempotent_write import KEYED, documented_write, write
from app.entrypoints.http.identity import needs
from app.entrypoints.http.order_ids import new_order_id
from app.entrypoints.http.problems import documented
from app.entrypoints.http.query import DryRun
from app.entrypoints.http.route import ServiceRoute
from app.entrypoints.http.services import queries_of
from app.read_model.dry_runs import OrderPreview
from app.service_layer.results import OrderAccepted, OrderState

router = APIRouter(prefix="/v1/orders", tags=["orders"], route_class=ServiceRoute)

OrderIdInPath = Annotated[OrderId, Path(description="The id of the order.")]


@router.post(
    "",
    operation_id="placeOrder",
    summary="Place an order of several lines",
    status_code=201,
    response_model=OrderState,
    response_description="The order was accepted, or its hold confirmed: each line is allocated, backordered or held.",
    responses={
        201: {
            "headers": {"Location": {"description": "The path of the order.", "schema": {"type": "string"}}},
            **ORDER_HELD,
        },
        200: {
            # The larger schema first: generated clients take the first one that fits.
            "model": OrderPreview | OrderState,
            "description": (
                "The order was placed before; this is its current state. With `dry_run`: the outcome of each line and "
                "its reason; nothing is stored."
            ),
            **ORDER_KNOWN,
        },
        **documented_write(
            "malformed-body",
            "invalid-sku",
            "out-of-stock",
            "order-conflict",
            "payload-too-large",
            "unsupported-media-type",
        ),
    },
    openapi_extra=KEYED | ORDER_BODY,
)
@needs("orders:write")
async def place_order(order: NewOrder, request: Request, *, dry_run: DryRun = False) -> Response:
    """Allocates 1 to 100 lines in one transaction. Lines of the same SKU need a `line` each.

    With `backorder` each line is allocated or backordered. With `reject` either all lines are allocated or the order is
    refused. With `hold_for` all lines are held until the same time, or the order is refused; the same request without
    `hold_for` confirms them, without looking at the stock again. If `order_id` is missing, the service generates a
    UUIDv7, so that ids sort by time. To be able to repeat the request, send an `order_id` or an Idempotency-Key.
    """
    order_id = order.order_id if "order_id" in order.model_fields_set else new_order_id()
    command = PlaceOrder.model_construct(**dict(order) | {"order_id": order_id})
    if dry_run:
        return Answer(ORDER_PREVIEW.dump_json(await queries_of(request).dry_runs.place_order(command)))
    return await write(request, command, _accepted)


def _accepted(accepted: OrderAccepted) -> Response:
    order = accepted.order
    location = {"Location": f"/v1/orders/{order.order_id}"}
    return Answer(ORDER.dump_json(order), 201, location) if accepted.changed else Answer(ORDER.dump_json(order))


@router.get(
    "/{order_id}",
    operation_id="getOrder",
    summary="Get an order",
    response_model=OrderState,
    response_description="The lines of the order, and the day from which it can be shipped as a whole.",
    responses=documented("order-not-found", "invalid-request"),
)
@needs("read")
async def get_order(order_id: OrderIdInPath, request: Request) -> Response:
    """Returns all lines of the order, including those that were placed one by one. Cancelled lines are not included."""
    return Answer(ORDER.dump_json(await queries_of(request).order(order_id)))


@router.put(
    "/{order_id}/hold",
    operation_id="holdOrder",
    summary="Extend or replace the hold of an order",
    response_model=OrderState,
    response_description="The order with its held lines.",
    responses={
        200: ORDER_HELD,
        **documented_write(
            "malformed-body",
            "invalid-sku",
            "order-not-found",
            "not-held",
            "out-of-stock",
            "payload-too-large",
            "unsupported-media-type",
        ),
    },
    openapi_extra=KEYED | HOLD_BODY,
)
@needs("orders:write")
async def hold_order(order_id: OrderIdInPath, changes: HoldChanges, request: Request) -> Response:
    """Sets the end of the hold to `hold_for` seconds from now.

    With `lines` the order holds exactly these lines from now on, all of them or none; its own held pieces are available
    to it. If a line is refused, the hold stays as it was. If the hold has ended, or the order is new, `lines` makes a
    new hold, and without `lines` the response is 404. Confirmed lines of the order do not change.
    """
    fields = {"order_id": order_id, **changes.model_dump(exclude_unset=True)}
    command = HoldOrder.model_construct(_fields_set=set(fields), **dict(changes) | {"order_id": order_id})
    return await write(request, command, lambda order: Answer(ORDER.dump_json(order)))


@router.delete(
    "/{order_id}",
    operation_id="cancelOrder",
    summary="Cancel an order",
    status_code=204,
    response_class=Response,
    response_description="The lines that were not shipped were removed; the pieces that they held serve backorders.",
    responses=documented_write("order-not-found"),
    openapi_extra=KEYED,
)
@needs("orders:write")
async def cancel_order(order_id: OrderIdInPath, request: Request) -> Response:
    """Cancels all lines that are not shipped and frees their stock. Shipped lines are unchanged."""
    return await write(request, CancelOrder(order_id=order_id), lambda _: Response(status_code=204))
