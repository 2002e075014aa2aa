"""Events and answers in the words of the model in `faults/linearizability`: empty dates, times in nanoseconds."""

from collections.abc import Callable, Mapping
from typing import Any

from faults.journal import Answer
from faults.story import Event, time_of

Fields = dict[str, Any]
BATCH = ("qty", "on_hand_qty", "shipped_qty", "location", "best_before", "blocked", "reallocate")
ERRORS = 400

EFFECTS: dict[str, Callable[[Fields], str]] = {
    "batch_created.v1": lambda data: f"created {_batch(data)}",
    "batch_quantity_changed.v1": lambda data: f"quantity {_batch(data)}",
    "batch_eta_changed.v1": lambda data: f"eta {_batch(data)}",
    "batch_changed.v1": lambda data: (
        f"terms {data['ref']} {data['location']} {data['best_before'] or ''} {str(data['blocked']).lower()}"
    ),
    "line_allocated.v1": lambda data: f"allocated {_line(data)} {data['batch_ref']}",
    "line_held.v1": lambda data: f"held {_line(data)} {data['batch_ref']} {nanoseconds(data['held_until'])}",
    "hold_released.v1": lambda data: f"released {_line(data)} {data['batch_ref']} {data['reason']}",
    "line_backordered.v1": lambda data: f"backordered {_line(data)}",
    "line_deallocated.v1": lambda data: f"deallocated {_line(data)} {data['batch_ref'] or ''} {data['reason']}",
    "low_stock.v1": lambda data: f"low {data['available_qty']} {data['reorder_point']}",
    "line_shipped.v1": lambda data: f"shipped {_line(data)} {data['batch_ref']}",
}


def effect_of(event: Event) -> str:
    """What the event says; empty: it changes nothing."""
    describe = EFFECTS.get(event.type)
    return describe(event.data) if describe else ""


def _batch(data: Fields) -> str:
    return f"{data['ref']} {data['qty']} {data['eta'] or ''}"


def _line(data: Fields) -> str:
    return f"{data['order_id']} {data['qty']}"


def batch_args(data: Mapping[str, Any]) -> Fields:
    """The arguments of a command on a batch, or of a count."""
    dates = {name: data[name] or "" for name in ("eta", "best_before") if name in data}
    return {"ref": data["ref"], **{name: data[name] for name in BATCH if name in data}, **dates}


def answer_of(answer: Answer) -> Fields:
    """The status, and the batch or line of a success."""
    shown: Fields = {"status": answer.status}
    body = answer.body if isinstance(answer.body, dict) and (answer.status or 0) < ERRORS else {}
    if "ref" in body:
        shown["batch"] = batch_of(body)
    elif "order_id" in body:
        shown["line"] = line_of(body)
    return shown


def line_of(body: Mapping[str, Any]) -> Fields:
    """An order line of a response."""
    until = body.get("held_until")
    return {
        "qty": body["qty"],
        "status": body["status"],
        "batch": body["batch_ref"] or "",
        "until": nanoseconds(until) if until else 0,
    }


def batch_of(body: Mapping[str, Any]) -> Fields:
    """A batch of a response."""
    sums = {name: body[f"{name}_qty"] for name in ("available", "allocated", "shipped")} | _held(body)
    return {"ref": body["ref"], "qty": body["qty"], "eta": body["eta"] or "", **sums}


def product_of(body: Mapping[str, Any]) -> Fields:
    """A product of a response."""
    sums = {name: body[f"{name}_qty"] for name in ("available", "allocated", "shipped", "backordered")} | _held(body)
    sums["reorder_point"] = body["reorder_point"] or 0
    return {**sums, "batches": [batch_of(batch) for batch in body["batches"]]}


def _held(body: Mapping[str, Any]) -> Fields:
    """The pieces on hold. Release 1.0.0rc1 has no holds."""
    return {"held": body.get("held_qty", 0)}


def nanoseconds(text: str) -> int:
    """The time that is written like this in JSON, since 1970; exact to the microsecond."""
    return round(time_of(text) * 1e6) * 1000
