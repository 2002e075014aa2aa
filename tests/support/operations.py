"""Histories for the outside judge, made by hand: operations on one SKU with their times in seconds."""

from pathlib import Path
from typing import Any

from faults.outside_judge import verdicts_on
from faults.wording import Fields

SECOND = 1_000_000_000


def op(kind: str, call: float, end: float | None, answer: Fields | None = None, **args: Any) -> Fields:
    """An operation of this kind."""
    return {
        "id": f"{kind}@{call:g}",
        "sku": "CHAIR",
        "kind": kind,
        "args": args,
        "answer": answer,
        "call": int(call * SECOND),
        "return": None if end is None else int(end * SECOND),
    }


def created(call: float, end: float, ref: str = "b1", qty: int = 10) -> Fields:
    """A batch was recorded."""
    return op("create_batch", call, end, {"status": 201}, ref=ref, qty=qty)


def allocated(call: float, end: float | None, order: str, qty: int, batch: str = "b1", **args: Any) -> Fields:
    """A line was allocated."""
    line = {"qty": qty, "status": "allocated", "batch": batch}
    return op("allocate", call, end, {"status": 201, "line": line}, order=order, qty=qty, **args)


def queued(call: float, end: float, order: str, qty: int) -> Fields:
    """A line was backordered."""
    line = {"qty": qty, "status": "backordered"}
    return op("allocate", call, end, {"status": 202, "line": line}, order=order, qty=qty)


def unanswered(call: float, order: str, qty: int) -> Fields:
    """A line was requested, and its client got no answer."""
    return op("allocate", call, None, order=order, qty=qty)


def held(call: float, end: float, order: str, qty: int, seconds: int = 1) -> Fields:
    """A line was held."""
    until = int((call + seconds) * SECOND)
    line = {"qty": qty, "status": "held", "batch": "b1", "until": until}
    return op("allocate", call, end, {"status": 201, "line": line}, order=order, qty=qty, hold_for=seconds, until=until)


def read(call: float, end: float, allocated: int, qty: int = 10, waiting: int = 0, held: int = 0) -> Fields:
    """A product was read, with one batch."""
    sums = {"available": qty - allocated, "allocated": allocated, "shipped": 0, "held": held}
    batches = [{"ref": "b1", "qty": qty, "eta": "", **sums}]
    return op("read_product", call, end, {"product": {**sums, "backordered": waiting, "batches": batches}})


def cancelled(call: float, end: float, order: str) -> Fields:
    """A line was cancelled."""
    return op("cancel", call, end, {"status": 204}, order=order)


def counted(call: float, end: float, on_hand: int, *effects: str, ref: str = "") -> Fields:
    """The product was counted in main."""
    asked = {"on_hand_qty": on_hand, "location": "main", "ref": ref}
    return op("count_product", call, end, {"status": 200}, **asked) | {"effects": list(effects)}


def reordered(call: float, end: float, qty: int) -> Fields:
    """The reorder point was set."""
    return op("set_reorder_point", call, end, {"status": 200}, qty=qty)


def verdict(program: Path, *history: Fields, seconds: float = 5) -> str:
    """The verdict on the history."""
    (found,) = verdicts_on(program, history, seconds)
    return str(found["verdict"])
