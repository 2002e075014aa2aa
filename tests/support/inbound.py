"""CloudEvents of upstream systems, in binary and in structured mode."""

import json
from typing import Any

from app.domain.commands import Allocate

LINE = {"order_id": "order-1", "sku": "CHAIR", "qty": 3}
ALLOCATE = Allocate(order_id="order-1", sku="CHAIR", qty=3)
STRUCTURED: list[tuple[str, bytes | None]] = [("content-type", b"application/cloudevents+json; charset=utf-8")]


def binary(**attributes: str) -> list[tuple[str, bytes | None]]:
    given = {"id": "message-1", "type": "allocation_required.v1", **attributes}
    return [(f"ce_{name}", value.encode()) for name, value in given.items()]


def structured(**attributes: Any) -> bytes:
    given = {"specversion": "1.0", "id": "message-1", "type": "allocation_required.v1", "data": LINE, **attributes}
    return json.dumps({name: value for name, value in given.items() if value is not ...}).encode()
