"""A shop with rows of every kind, stored in one cell or divided into several."""

import json
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg

from app.adapters.postgresql.cells import CONTROL, schemas_of
from app.service_layer.cells import CellMap
from tests.support.database import raw_connection

# Their order is that of their bytes, which is that of no language.
SKUS = ("10", "9", "A_1", "a-1", "a.1", "a1", "B:2", "b-2", "Z", "z", *(f"SKU-{number}" for number in range(14)))
ORDERS = tuple(f"order-{number}" for number in range(16))
CARTS = ("cart-1", "cart-2", "cart-3")
ARCHIVED_BEFORE = datetime(2020, 1, 1, tzinfo=UTC)


def ref_of(sku: str, number: int) -> str:
    return f"batch-{number}-of-{sku}"


def _a_minute_ago() -> datetime:
    """The time, or the beginning of today if that is later."""
    now = datetime.now(UTC)
    return max(now.replace(hour=0, minute=0, second=0, microsecond=0), now - timedelta(minutes=1))


@dataclass
class Shop:
    """Rows by table, each with the name that decides on its cell; None: it belongs to no cell.

    Events are in the order of time. Orders have lines of several products, some of them shipped, waiting or held.
    """

    rows: defaultdict[str, list[tuple[str | None, dict[str, Any]]]] = field(default_factory=lambda: defaultdict(list))
    _sequences: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    _begin: datetime = field(default_factory=_a_minute_ago)

    def fill(self) -> None:
        products = {sku: self._record(place, sku) for place, sku in enumerate(SKUS)}
        for number, order_id in enumerate(ORDERS):
            for place in sorted({number, (5 * number + 3) % len(SKUS), (7 * number + 1) % len(SKUS)}):
                self._place(number, order_id, place, products[SKUS[place]])
            self._add("orders", order_id, order_id=order_id, lines="[]")
        self._raise(ORDERS[0], "allocation_failed.v1", None, order_id=ORDERS[0])
        for sku, product in products.items():
            product["sequence"] = self._sequences[sku]
        # The first event of one product is in a file.
        archived = next(each for each in self.rows["events"] if each[0] == SKUS[7])
        self.rows["events"].remove(archived)
        archive = {"file": "events-1", "archived_before": ARCHIVED_BEFORE, "last_id": 1, "events": 1, "digest": b""}
        self._add("event_archives", None, **archive)
        for offset in range(3):
            record = {"consumer": "c", "topic": "t", "partition": 0, "offset": offset, "timestamp": 0}
            self._add("dead_letters", None, **record, headers="[]", reason="unreadable")
        for number, cart in enumerate(CARTS):
            self._add("carts", cart, cart_id=cart, currency="EUR", version=number + 1, status="open")
            self._add("cart_items", cart, cart_id=cart, sku=SKUS[number], qty=number + 1, unit_price=250)

    def _record(self, place: int, sku: str) -> dict[str, Any]:
        """A product with a batch in the warehouse, one on its way or late, and one that may be blocked or expired."""
        today = datetime.now(UTC).date()
        eta, expired = today + timedelta(days=place % 5 - 2), today - timedelta(days=1)
        product = self._add("products", sku, sku=sku, reorder_point=20 * place if place % 2 and place else None)
        self._batch(sku, 1, 4 * (place % 3), None)
        self._batch(sku, 2, 20 + place, eta)
        terms = {"location": "berlin" if place % 2 else None, "best_before": expired if place % 5 == 0 else None}
        self._batch(sku, 3, 10, None, blocked=place % 3 == 0, **terms)
        if place % 2 == 0:
            self._raise(sku, "batch_quantity_changed.v1", self._next(sku), ref=ref_of(sku, 1), qty=4 * (place % 3))
        return product

    def _batch(self, sku: str, number: int, qty: int, eta: date | None, **terms: Any) -> None:
        ref, wanted = ref_of(sku, number), max(qty, 6)
        self._add("batch_refs", ref, ref=ref, sku=sku)
        self._add("batches", sku, sku=sku, number=number, ref=ref, qty=wanted, first_qty=wanted, eta=eta, **terms)
        self._raise(sku, "batch_created.v1", self._next(sku), ref=ref, sku=sku, qty=wanted, eta=eta and eta.isoformat())

    def _place(self, number: int, order_id: str, place: int, product: dict[str, Any]) -> None:
        sku, time = product["sku"], self._begin - timedelta(hours=number // 2)
        line: dict[str, Any] = {"order_id": order_id, "sku": sku, "requested": self._next(sku), "placed_at": time}
        about = {"order_id": order_id, "sku": sku}
        state, qty = (number + place) % 4, 1 if (number + place) % 4 != 2 else 3 + number % 4
        line["qty"] = qty
        if state == 2:
            product["backordered_qty"] = product.get("backordered_qty", 0) + qty
            line["queue_rank"] = number % 3 * 5 or None
            self._raise(sku, "line_backordered.v1", line["requested"], qty=qty, **about)
        else:
            batch = self._find("batches", sku, number=(1, 2, None, 3)[state])
            line |= {"batch_number": batch["number"], "allocated": line["requested"]}
            about["batch_ref"] = batch["ref"]
            self._raise(sku, "line_allocated.v1", line["requested"], qty=qty, **about)
            sums = {0: ["shipped_qty"], 1: ["allocated_qty", "allocated_lines"], 3: ["allocated_qty", "held_qty"]}
            for name in sums[state]:
                batch[name] = batch.get(name, 0) + qty
            if state == 0:
                line["shipped"] = self._next(sku)
                self._raise(sku, "line_shipped.v1", line["shipped"], **about)
            if state == 3:
                line["held_until"] = product["earliest_hold_end"] = self._begin + timedelta(hours=2)
                product["held_qty"] = product.get("held_qty", 0) + qty
        self._add("order_lines", sku, **line)

    def _next(self, sku: str) -> int:
        self._sequences[sku] += 1
        return self._sequences[sku]

    def _raise(self, subject: str, kind: str, sequence: int | None, **data: Any) -> None:
        # Each has a time of its own, so that their order does not depend on ids.
        number = len(self.rows["events"])
        about: dict[str, Any] = {
            "subject": subject,
            "type": kind,
            "sequence": sequence,
            "data": json.dumps(data),
            "shard": 0,
        }
        about |= {"created_at": self._begin + timedelta(milliseconds=number), "message_id": UUID(int=number)}
        self._add("events", subject, correlation_id="c", causation_id="c", **about)

    def _add(self, table: str, placed_by: str | None, **values: Any) -> dict[str, Any]:
        self.rows[table].append((placed_by, values))
        return values

    def _find(self, table: str, placed_by: str, **wanted: Any) -> dict[str, Any]:
        return next(row for name, row in self.rows[table] if name == placed_by and wanted.items() <= row.items())

    async def store(self, url: str, cells: int) -> None:
        """Insert the rows, each into the schema of its cell."""
        of, schemas = CellMap(cells).of, [name or "public" for name in schemas_of(cells)]
        control = "public" if cells == 1 else CONTROL
        async with raw_connection(url) as connection:
            for table, rows in self.rows.items():
                if table == "batch_refs" and cells == 1:
                    continue
                for placed_by, values in rows:
                    within = control if placed_by is None else schemas[of(placed_by)]
                    await _insert(connection, f"{within}.{table}", values)
            # The last event of one product waits to be published.
            within = schemas[of(SKUS[0])]
            await connection.execute(
                f"INSERT INTO {within}.outbox SELECT max(id), 0 FROM {within}.events WHERE subject = $1", SKUS[0]
            )


async def _insert(connection: asyncpg.Connection, table: str, values: dict[str, Any]) -> None:
    columns = ", ".join(f'"{name}"' for name in values)
    marks = ", ".join(f"${number}" for number in range(1, len(values) + 1))
    await connection.execute(f"INSERT INTO {table} ({columns}) VALUES ({marks})", *values.values())
