"""What each problem means and what a caller does about it, by its code."""

from typing import NamedTuple


class Explanation(NamedTuple):
    """`meaning` is when the service answers with the problem, `remedy` what the caller does then."""

    meaning: str
    remedy: str


_SAFE_TO_REPEAT = "Every request may be sent again safely."

EXPLANATIONS: dict[str, Explanation] = {
    "malformed-request": Explanation(
        "The bytes are not a request of HTTP/1.1, or a header that may come once comes more than once.",
        "Correct the program or the proxy that sends the request.",
    ),
    "malformed-body": Explanation(
        "The body is not JSON by RFC 8259 in UTF-8, or an object in it has the same name twice. NaN, Infinity, a byte "
        "order mark and lone surrogates are not JSON. Nothing of the request takes effect.",
        "Write the body with a JSON library. `detail` names the line and the column of the fault.",
    ),
    "invalid-sku": Explanation(
        "No batch of the SKU was ever recorded, so no line of it can be accepted.",
        "Check the SKU, or record a batch of it first. `skus` lists the SKUs concerned.",
    ),
    "too-deeply-nested": Explanation(
        "Arrays and objects of the body are nested more deeply than any body of this API needs.",
        "Send the body that the OpenAPI document describes.",
    ),
    "unauthenticated": Explanation(
        "The request has no credentials, or they are unknown, expired or malformed.",
        "Send a valid token or API key, as `WWW-Authenticate` asks for it.",
    ),
    "forbidden": Explanation(
        "The credentials are valid, but lack the scope that the operation needs. Where the service runs without "
        "authentication: a web browser sent the request for a page of another origin.",
        "Ask the operator for the scope that `detail` names; call the service from its own pages or from a program.",
    ),
    "misdirected-request": Explanation(
        "The service runs without authentication, and the host in the request is neither an IP address nor localhost "
        "nor listed in ALLOCATION_HTTP_ALLOWED_HOSTS. A web page could otherwise reach the service by a name of its "
        "own that resolves to it (DNS rebinding).",
        "Use a known host, or have the operator list the name.",
    ),
    "not-found": Explanation("The path does not exist.", "See /docs for the paths."),
    "batch-not-found": Explanation("No batch has the ref of the request.", "Check the ref, or record the batch first."),
    "order-not-found": Explanation(
        "The order has no line. An order whose lines were all cancelled is forgotten.", "Check the order id."
    ),
    "allocation-not-found": Explanation(
        "The order has no line of the SKU. A cancelled line is forgotten.", "Check the order id and the SKU."
    ),
    "product-not-found": Explanation("No batch of the SKU was ever recorded.", "Check the SKU."),
    "method-not-allowed": Explanation(
        "The path exists and does not take the method.", "Use one of the methods that the header `Allow` lists."
    ),
    "request-timeout": Explanation(
        "The request did not arrive completely within the time limit.", f"Send it without pauses. {_SAFE_TO_REPEAT}"
    ),
    "already-shipped": Explanation(
        "The line has been shipped. A shipped line is neither cancelled nor changed nor moved.",
        "Handle the goods as a return, outside this service.",
    ),
    "not-allocated": Explanation(
        "The line waits for stock, and only a line that a batch serves can be shipped.",
        "Ship it after it has been allocated; `line_allocated.v1` reports that.",
    ),
    "below-shipped": Explanation(
        "The new quantity of the batch is smaller than what has been shipped from it.",
        "Check the count; at least the shipped quantity was there.",
    ),
    "quantity-changed": Explanation(
        "`expected_qty` differs from the quantity of the batch, because another caller has changed it.",
        "Read `present_qty`, decide again, and send the request with the new `expected_qty`.",
    ),
    "precondition-failed": Explanation(
        "`If-Match` names another state than the present one, because the resource has changed since it was read.",
        "Read the resource again, decide again, and send the request with its new `ETag`.",
    ),
    "batch-conflict": Explanation(
        "The ref was recorded before with another SKU, quantity or ETA. A ref belongs to one batch for ever.",
        "Use another ref for another batch; change a recorded batch with PATCH.",
    ),
    "out-of-stock": Explanation(
        "No batch holds the whole line, and the request asked to refuse it in that case.",
        "Order less, wait for stock, or place the line with `if_unavailable: backorder`. `skus` lists the SKUs.",
    ),
    "allocation-conflict": Explanation(
        "The order has a line of this SKU with another quantity.",
        "Show the order. Change the quantity of the line, or cancel it and place it anew.",
    ),
    "order-conflict": Explanation(
        "The order id was placed before with other lines.", "Use another order id for another order."
    ),
    "idempotency-key-in-use": Explanation(
        "The first request with this Idempotency-Key has not been answered yet.",
        "Send the same request again after `Retry-After`; it gets the answer of the first.",
    ),
    "payload-too-large": Explanation(
        "The body is larger than the limit that `detail` names.", "Send less at once: a bulk request in several parts."
    ),
    "uri-too-long": Explanation("The path and the query are too long.", "Shorten them."),
    "unsupported-media-type": Explanation(
        "The body is not declared as JSON, or is compressed.",
        "Send `Content-Type: application/json` without a `Content-Encoding`.",
    ),
    "invalid-request": Explanation(
        "A part of the body, the path, the query or a header has the wrong form. Nothing has changed.",
        "Correct each place in `errors`.",
    ),
    "idempotency-key-reused": Explanation(
        "The Idempotency-Key came before with another request. The method, the path, the query and the body count, "
        "byte for byte.",
        "Use a new key for a new request. Send an old request again exactly as it was.",
    ),
    "too-many-requests": Explanation(
        "The caller has sent more requests than its rate allows.",
        "Wait for `Retry-After` seconds, and send fewer requests: bulk requests hold up to 1,000 items.",
    ),
    "headers-too-large": Explanation("The headers are too large.", "Send fewer or shorter headers."),
    "internal-error": Explanation(
        "The service failed. The fault is logged under the request's id.",
        f"Report the X-Request-ID of the answer to the operator. {_SAFE_TO_REPEAT}",
    ),
    "unavailable": Explanation(
        "The service, its database or its identity provider does not answer in time. The request may have taken "
        "effect.",
        f"Send the request again after `Retry-After` seconds. {_SAFE_TO_REPEAT}",
    ),
    "overloaded": Explanation(
        "Too many requests or connections wait, or the bodies of all requests are too large together. The request "
        "had no effect.",
        f"Send it again after `Retry-After` seconds, with growing pauses. {_SAFE_TO_REPEAT}",
    ),
}
