"""The meaning of each problem, and what a caller does about it, by its code."""

from typing import NamedTuple


class Explanation(NamedTuple):
    """`meaning` says when the service returns the problem, `remedy` what the caller does then."""

    meaning: str
    remedy: str


_SAFE_TO_REPEAT = "Every request can be repeated safely."

EXPLANATIONS: dict[str, Explanation] = {
    "malformed-request": Explanation(
        "The bytes are not an HTTP/1.1 request, or a header that may occur once is repeated.",
        "Correct the program or the proxy that sends the request.",
    ),
    "malformed-body": Explanation(
        "The body is not JSON as RFC 8259 defines it, in UTF-8, or an object in it has a duplicate name. NaN, "
        "Infinity, a byte order mark and lone surrogates are not JSON. No part of the request takes effect.",
        "Write the body with a JSON library. `detail` has the line and the column of the fault.",
    ),
    "invalid-sku": Explanation(
        "No batch of the SKU has been recorded, so its lines cannot be accepted.",
        "Check the SKU, or record a batch of it first. `skus` lists the SKUs concerned.",
    ),
    "idempotency-key-required": Explanation(
        "The request has no Idempotency-Key. A repetition of this request would take effect again.",
        "Generate a key for each new request, and repeat the request with the same key.",
    ),
    "too-deeply-nested": Explanation(
        "Arrays and objects of the body are nested more deeply than the service accepts.",
        "Send the body that the OpenAPI document describes.",
    ),
    "unauthenticated": Explanation(
        "The request has no credentials, or they are unknown, expired or malformed.",
        "Send a valid token or API key, as `WWW-Authenticate` requires.",
    ),
    "forbidden": Explanation(
        "The credentials are valid, but lack the scope that the operation requires. If the service runs without "
        "authentication: a web browser sent the request for a page of another origin.",
        "Request the scope in `detail` from the operator. Without authentication: use a program or the service's own "
        "pages.",
    ),
    "misdirected-request": Explanation(
        "The service runs without authentication, and the host in the request is neither an IP address nor localhost "
        "nor listed in ALLOCATION_HTTP_ALLOWED_HOSTS. Otherwise a web page could use a name of its own that resolves "
        "to the service (DNS rebinding).",
        "Use an allowed host, or add the name to ALLOCATION_HTTP_ALLOWED_HOSTS.",
    ),
    "not-found": Explanation("The path does not exist.", "See /docs for the paths."),
    "batch-not-found": Explanation("No batch has the ref of the request.", "Check the ref, or record the batch first."),
    "order-not-found": Explanation(
        "The order does not exist. An order is removed when its last line is cancelled.", "Check the order id."
    ),
    "allocation-not-found": Explanation(
        "The order has no line of the SKU. Cancelled lines are removed.", "Check the order id and the SKU."
    ),
    "product-not-found": Explanation("No batch of the SKU has been recorded.", "Check the SKU."),
    "cart-not-found": Explanation(
        "The cart does not exist. The first item makes a cart. A cart that has not changed for 30 days, or as the "
        "operator has configured, is deleted.",
        "Check the cart id, or put the items into the cart again.",
    ),
    "method-not-allowed": Explanation(
        "The path exists and does not support the method.", "Use one of the methods in the header `Allow`."
    ),
    "request-timeout": Explanation(
        "The request did not arrive completely within the time limit.", f"Send it without pauses. {_SAFE_TO_REPEAT}"
    ),
    "already-shipped": Explanation(
        "The line was shipped. A shipped line cannot be cancelled, changed or moved.",
        "Handle the goods as a return, outside this service.",
    ),
    "not-allocated": Explanation(
        "The line is backordered. Only an allocated line can be shipped.",
        "Ship the line after the event `line_allocated.v1`.",
    ),
    "not-confirmed": Explanation(
        "The line is held for a limited time. Only a confirmed line can be shipped.",
        "Place the line or its order again, without `hold_for`. Ship it after the event `line_allocated.v1`.",
    ),
    "not-held": Explanation(
        "The order, or a line that the request names, was confirmed or placed without `hold_for`, so it has no hold to "
        "change. `skus` lists the lines.",
        "Leave confirmed lines out of `lines`. Change a confirmed line with PATCH, or cancel it.",
    ),
    "below-shipped": Explanation(
        "The new quantity of the batch is smaller than its shipped quantity.",
        "Check the count: the quantity of a batch includes the shipped pieces.",
    ),
    "quantity-changed": Explanation(
        "`expected_qty` differs from the current quantity of the batch, or `expected_on_hand_qty` from the pieces of "
        "the product on hand, usually because another caller changed it.",
        "Decide again with the quantity in `present_qty`, and send it as the expected one.",
    ),
    "cursor-expired": Explanation(
        "The topic no longer has all events after the cursor: its retention has removed some, or it was deleted and "
        "created again.",
        "Continue with the cursor in `first_cursor`. Events are missing before it, so read the present state with the "
        "other operations as well.",
    ),
    "precondition-failed": Explanation(
        "The current `ETag` is not in `If-Match`: the batch, product or cart has changed since it was read.",
        "Read it again, decide again, and send the request with its new `ETag`.",
    ),
    "batch-conflict": Explanation(
        "The ref was recorded before with another SKU, quantity or ETA. A ref identifies one batch permanently.",
        "Use another ref for another batch. Change a recorded batch with PATCH.",
    ),
    "out-of-stock": Explanation(
        "No batch can hold the whole line, and the request does not allow a backorder.",
        "Order less, wait for stock, or place the line with `if_unavailable: backorder`. `skus` lists the SKUs.",
    ),
    "allocation-conflict": Explanation(
        "The order has a line of this SKU with another quantity, or with other requirements of its batch.",
        "Change the quantity of the existing line, or cancel it and place it again.",
    ),
    "order-conflict": Explanation(
        "The order id was placed before with other lines.", "Use another order id for another order."
    ),
    "cart-closed": Explanation(
        "An order was placed from the cart, so the cart cannot change. Only the same checkout can be repeated.",
        "Use a new cart. Change or cancel the order itself.",
    ),
    "cart-empty": Explanation("The cart has no item.", "Put an item into the cart first."),
    "price-changed": Explanation(
        "The cart has the SKU with another unit price, so pieces cannot be added with this one.",
        "Set quantity and price of the item with PUT.",
    ),
    "currency-mismatch": Explanation(
        "`currency` is not the currency of the cart. A cart has one currency.",
        "Use the currency of the cart, or a new cart.",
    ),
    "checkout-conflict": Explanation(
        "The cart was checked out before with another order id. A cart has one order.",
        "Name the order in `detail`, or omit `order_id`.",
    ),
    "idempotency-key-in-use": Explanation(
        "The first request with this Idempotency-Key is still running.",
        "Repeat the request after `Retry-After` seconds; it gets the response of the first request.",
    ),
    "payload-too-large": Explanation(
        "The body is larger than the limit in `detail`.", "Send less at once: split a bulk request."
    ),
    "uri-too-long": Explanation("The path and the query are too long.", "Shorten them."),
    "unsupported-media-type": Explanation(
        "The body is not declared as JSON, or is compressed.",
        "Send `Content-Type: application/json` without a `Content-Encoding`.",
    ),
    "invalid-request": Explanation(
        "A part of the body, the path, the query or a header is invalid. Nothing was changed.",
        "Correct each fault in `errors`.",
    ),
    "location-required": Explanation(
        "The product has pieces in several locations, and the count does not name the one that was counted.",
        "Send a count for each location, with `location`. `locations` lists those with pieces.",
    ),
    "quantity-too-large": Explanation(
        "The quantity of a batch includes the shipped pieces. With the counted ones it would be more than 2147483647.",
        "Check the count, or record a new batch.",
    ),
    "cart-limit-exceeded": Explanation(
        "The cart would have more than 100 items, an item of more than 2147483647 pieces, or a total above "
        "9007199254740991 (2^53 - 1).",
        "Use several carts.",
    ),
    "idempotency-key-reused": Explanation(
        "The Idempotency-Key was used before for another request. Method, path, query, `If-Match` and body are "
        "compared, byte for byte.",
        "Use a new key for a new request. Repeat an old request exactly as it was.",
    ),
    "too-many-requests": Explanation(
        "The caller has sent more requests than its rate limit allows.",
        "Wait for `Retry-After` seconds, and send fewer requests: a bulk request has up to 1,000 items.",
    ),
    "headers-too-large": Explanation("The headers are too large.", "Send fewer or shorter headers."),
    "internal-error": Explanation(
        "The service failed. The error is logged with the request id.",
        f"Report the X-Request-ID of the response to the operator. {_SAFE_TO_REPEAT}",
    ),
    "unavailable": Explanation(
        "The service, its database, its broker or its identity provider did not respond in time. The request may have "
        "taken effect.",
        f"Repeat the request after `Retry-After` seconds. {_SAFE_TO_REPEAT}",
    ),
    "overloaded": Explanation(
        "The service has too many requests, connections or open streams, or the bodies of requests exceed its limit "
        "together. The request had no effect.",
        f"Repeat the request after `Retry-After` seconds, with growing pauses. {_SAFE_TO_REPEAT}",
    ),
}
