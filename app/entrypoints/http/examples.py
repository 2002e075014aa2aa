"""Examples of order lines and orders in the OpenAPI document, with and without a hold."""

from typing import Any

from app.read_model.dry_runs import EXPLANATIONS

_LINE = {"order_id": "order-1", "sku": "RED-CHAIR", "qty": 10}
_ORDER = {"order_id": "order-1", "lines": [{"sku": "RED-CHAIR", "qty": 10}]}
# Of a held line, because FastAPI leaves nulls out of examples, and `held_until` is null for every other line.
_HELD = _LINE | {
    "status": "held",
    "batch_ref": "batch-1",
    "eta": "2030-01-01",
    "held_until": "2029-12-01T12:00:00.000000Z",
}
_REASON = {"reason": "earliest_arrival", "explanation": EXPLANATIONS["earliest_arrival"]}


def _order_of(line: dict[str, Any]) -> dict[str, Any]:
    return {"order_id": "order-1", "lines": [line], "complete": False, "earliest_eta": "2030-01-01"}


def _content(**examples: tuple[str, Any]) -> dict[str, Any]:
    """The examples of a body by name, each with its summary."""
    shown = {name: {"summary": summary, "value": value} for name, (summary, value) in examples.items()}
    return {"content": {"application/json": {"examples": shown}}}


_HOLD = "Hold the stock for ten minutes; the same without hold_for confirms it"

LINE_BODY = {
    "requestBody": _content(line=("Allocate a line", _LINE), hold=(_HOLD, _LINE | {"hold_for": 600})),
}
ORDER_BODY = {
    "requestBody": _content(order=("Place an order", _ORDER), hold=(_HOLD, _ORDER | {"hold_for": 600})),
}
HOLD_BODY = {
    "requestBody": _content(
        extend=("Hold the same lines longer", {"hold_for": 600}),
        replace=("Hold exactly these lines", {"hold_for": 600, "lines": _ORDER["lines"]}),
    ),
}
LINES_BODY = {
    "requestBody": _content(
        lines=("Allocate lines", {"items": [_LINE]}),
        hold=("Hold the stock of a line", {"items": [_LINE | {"hold_for": 600}]}),
    ),
}
"""The `openapi_extra` of the routes."""

LINE_HELD = _content(held=("Held", _HELD))
LINE_KNOWN = _content(same=("Repeated request", _HELD), **{"dry-run": ("With dry_run=true", _HELD | _REASON)})
LINES_HELD = _content(held=("Held", {"results": [{"status": 201, "allocation": _HELD}]}))
ORDER_HELD = _content(held=("Held", _order_of(_HELD)))
ORDER_KNOWN = _content(
    same=("Repeated request", _order_of(_HELD)), **{"dry-run": ("With dry_run=true", _order_of(_HELD | _REASON))}
)
"""Parts of the responses of the routes."""
