"""Carts: what a buyer has chosen, before it is ordered."""

from typing import Annotated

from fastapi import APIRouter, Path, Request, Response

from app.domain.commands import AddCartItem, Checkout, CheckOutCart, ItemValues, NewItem, RemoveCartItem, SetCartItem
from app.domain.fields import LEFT_OUT, CartId, Sku
from app.entrypoints.http.answers import CART, CHECKED_OUT_ORDER, Answer
from app.entrypoints.http.conditional import CACHED, GUARDED, GUARDED_WITH_KEY, NOT_MODIFIED, TAGGED, if_match, show
from app.entrypoints.http.idempotent_write import documented_write, require_key, write
from app.entrypoints.http.identity import needs
from app.entrypoints.http.order_ids import new_order_id
from app.entrypoints.http.problems import documented
from app.entrypoints.http.query import RemovedPieces
from app.entrypoints.http.route import ServiceRoute
from app.entrypoints.http.services import queries_of, services_of
from app.service_layer.cart_results import CartOrdered, CartState, CheckedOutOrder, ItemSet

router = APIRouter(prefix="/v1/carts", tags=["carts"], route_class=ServiceRoute)

CartIdInPath = Annotated[CartId, Path(description="The id of the cart.")]
SkuInPath = Annotated[Sku, Path(description="The SKU of the product.")]

_BODY = ("malformed-body", "payload-too-large", "unsupported-media-type", "precondition-failed", "cart-closed")
_ITEM = (*_BODY, "currency-mismatch", "cart-limit-exceeded")


@router.put(
    "/{cart_id}/items/{sku}",
    operation_id="setCartItem",
    summary="Set an item of a cart",
    response_model=CartState,
    response_description="The cart; it had the item before.",
    responses={
        200: TAGGED,
        201: {"model": CartState, "description": "The cart; the item is new in it.", **TAGGED},
        **documented_write(*_ITEM),
    },
    openapi_extra=GUARDED,
)
@needs("orders:write")
async def set_item(cart_id: CartIdInPath, sku: SkuInPath, item: ItemValues, request: Request) -> Response:
    """Sets quantity and unit price of a SKU. Repeating the request changes nothing.

    The first item makes the cart, with `currency` or the currency that the operator has configured. A cart has up to
    100 items in one currency, and reserves no stock. The SKU is checked at the checkout.
    """
    command = SetCartItem(
        cart_id=cart_id,
        sku=sku,
        if_match=if_match(request),
        default_currency=services_of(request.scope).cart_currency,
        **item.model_dump(exclude_unset=True),
    )
    return await write(request, command, _set)


def _set(done: ItemSet) -> Response:
    return _cart(done.cart, 201 if done.created else 200)


def _cart(cart: CartState, status: int = 200) -> Response:
    return Answer(CART.dump_json(cart), status, {"ETag": cart.tag})


@router.post(
    "/{cart_id}/items",
    operation_id="addCartItem",
    summary="Add pieces to a cart",
    response_model=CartState,
    response_description="The cart.",
    responses={200: TAGGED, **documented_write(*_ITEM, "idempotency-key-required", "price-changed")},
    openapi_extra=GUARDED_WITH_KEY,
)
@needs("orders:write")
async def add_item(cart_id: CartIdInPath, item: NewItem, request: Request) -> Response:
    """Adds pieces to those that the cart has of the SKU. The first item makes the cart.

    A repeated request would add the pieces again, so an Idempotency-Key is required. `PUT` of the item needs none. If
    the cart has the SKU with another unit price, the response is 409 `price-changed`; `PUT` sets a new price.
    """
    require_key(request)
    command = AddCartItem(
        cart_id=cart_id,
        if_match=if_match(request),
        default_currency=services_of(request.scope).cart_currency,
        **item.model_dump(exclude_unset=True),
    )
    return await write(request, command, _cart)


@router.delete(
    "/{cart_id}/items/{sku}",
    operation_id="removeCartItem",
    summary="Remove an item from a cart",
    status_code=204,
    response_class=Response,
    response_description="The pieces were removed, or were not in the cart.",
    responses={
        204: {
            "headers": {
                "ETag": {
                    **TAGGED["headers"]["ETag"],
                    "description": "The entity tag of the cart; absent if the cart does not exist.",
                }
            }
        },
        **documented_write("precondition-failed", "cart-closed"),
    },
    openapi_extra=GUARDED,
)
@needs("orders:write")
async def remove_item(
    cart_id: CartIdInPath, sku: SkuInPath, request: Request, qty: RemovedPieces = LEFT_OUT
) -> Response:
    """Removes `qty` pieces, or the whole item without `qty` or if it has no more. The cart remains, even if empty.

    With `qty`, a repeated request removes further pieces, unless it has an Idempotency-Key.
    """
    command = RemoveCartItem(cart_id=cart_id, sku=sku, qty=qty, if_match=if_match(request))
    return await write(request, command, _removed)


def _removed(cart: CartState | None) -> Response:
    return Response(status_code=204, headers={} if cart is None else {"ETag": cart.tag})


@router.get(
    "/{cart_id}",
    operation_id="getCart",
    summary="Get a cart",
    response_model=CartState,
    response_description="The items, and their total.",
    responses={
        200: TAGGED,
        304: NOT_MODIFIED,
        **documented("cart-not-found", "precondition-failed", "invalid-request"),
    },
    openapi_extra=CACHED,
)
@needs("read")
async def get_cart(cart_id: CartIdInPath, request: Request) -> Response:
    """Returns the items with their prices, the total, and the order of the last checkout."""
    cart = await queries_of(request).carts.get(cart_id)
    return show(request, CART.dump_json(cart), cart.tag)


@router.post(
    "/{cart_id}/checkout",
    operation_id="checkOutCart",
    summary="Check out a cart",
    status_code=201,
    response_model=CheckedOutOrder,
    response_description="The order of the cart was placed or confirmed, or is held.",
    responses={
        201: {
            "headers": {
                "Location": {"description": "The path of the order.", "schema": {"type": "string"}},
                **TAGGED["headers"],
            }
        },
        200: {
            "model": CheckedOutOrder,
            "description": "The cart was checked out before; this is the current state of its order.",
            **TAGGED,
        },
        **documented_write(
            *_BODY,
            "invalid-sku",
            "cart-not-found",
            "order-not-found",
            "cart-empty",
            "checkout-conflict",
            "not-held",
            "out-of-stock",
            "order-conflict",
        ),
    },
    openapi_extra=GUARDED,
)
@needs("orders:write")
async def check_out(cart_id: CartIdInPath, checkout: Checkout, request: Request) -> Response:
    """Places an order of the items that the cart has now, as `POST /v1/orders` does, and closes the cart.

    With `hold_for` the order is held, and the cart stays open for changes. A checkout after a change replaces the hold.
    The checkout without `hold_for` confirms it. Repeating a request returns the order, and does not extend a hold. If
    `order_id` is missing, the order gets a UUIDv7, which the cart keeps. A cart has one order: another `order_id` is
    refused. A refused checkout changes nothing.
    """
    command = CheckOutCart(
        cart_id=cart_id,
        if_match=if_match(request),
        new_order_id=new_order_id(),
        **checkout.model_dump(exclude_unset=True),
    )
    return await write(request, command, _ordered)


def _ordered(done: CartOrdered) -> Response:
    headers = {"ETag": done.tag}
    if done.created:
        headers["Location"] = f"/v1/orders/{done.order.order_id}"
    return Answer(CHECKED_OUT_ORDER.dump_json(done.order), 201 if done.created else 200, headers)
