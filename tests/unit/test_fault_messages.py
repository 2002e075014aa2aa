"""What the faults of messages depend on: the catalogue of poison, the ids of records, and the comparison of delays."""

import json
from typing import Any

import pytest
from confluent_kafka import Message

from app.domain.commands import Allocate, CancelAllocation, CancelOrder, Command, PlaceOrder, ShipLine
from app.integration.cloudevents import UnreadableMessageError
from app.service_layer.inbox import to_request
from faults import delays
from faults.client import as_bytes
from faults.delays import Delays, Span
from faults.journal import Answer, Entry, Kind
from faults.load import as_record, as_request
from faults.poison import POISON, Poison
from faults.story import Event
from faults.topics import OTHER_CONTENT, message_id, to_event

CHAIR = "CHAIR"


@pytest.mark.parametrize("kind", [pytest.param(poison, id=name) for name, poison in POISON.items()])
def test_poison_is_unreadable_and_its_dead_letter_has_the_reason(kind: Poison) -> None:
    record = kind.record("poison-1")
    headers: list[tuple[str, bytes | None]] = [
        (name if isinstance(name, str) else name.decode(errors="surrogateescape"), value)
        for name, value in record.headers
    ]
    with pytest.raises(UnreadableMessageError, match=r".") as raised:
        to_request(headers, record.value)
    assert kind.reason in str(raised.value)
    assert raised.value.message_id == ("poison-1" if kind.has_id else None)


def test_a_message_with_padding_is_readable() -> None:
    entry = Entry("k1", "k", "kafka", "allocate", {"order_id": "o1", "sku": CHAIR, "qty": 2})
    record = as_record(entry, padding="x" * 1000)
    headers = [(str(name), value) for name, value in record.headers]
    request = to_request(headers, record.value)
    assert (request.message_id, request.command.model_dump()["order_id"]) == ("k1", "o1")


LINES = [{"sku": CHAIR, "qty": 2}, {"sku": "TABLE", "qty": 1}]
LINE = {"order_id": "o1", "sku": CHAIR}
HELD_LINE = {**LINE, "qty": 2, "hold_for": 3}
HELD_ORDER = {"order_id": "o1", "lines": LINES, "hold_for": 3}


@pytest.mark.parametrize(
    ("kind", "data", "method", "path", "body", "command"),
    [
        ("cancel", LINE, "DELETE", "/v1/allocations/o1/CHAIR", None, CancelAllocation(**LINE)),
        ("ship", LINE, "POST", "/v1/allocations/o1/CHAIR/ship", None, ShipLine(**LINE)),
        ("allocate", HELD_LINE, "POST", "/v1/allocations", HELD_LINE, Allocate.model_validate(HELD_LINE)),
        ("place_order", HELD_ORDER, "POST", "/v1/orders", HELD_ORDER, PlaceOrder.model_validate(HELD_ORDER)),
        (
            "place_order",
            {"order_id": "o1", "lines": LINES, "if_unavailable": "reject"},
            "POST",
            "/v1/orders",
            {"order_id": "o1", "lines": LINES, "if_unavailable": "reject"},
            PlaceOrder.model_validate({"order_id": "o1", "lines": LINES, "if_unavailable": "reject"}),
        ),
        (
            "cancel_order",
            {"order_id": "o1", "lines": LINES},
            "DELETE",
            "/v1/orders/o1",
            None,
            CancelOrder(order_id="o1"),
        ),
    ],
)
def test_a_command_is_the_same_over_either_way(
    kind: Kind, data: dict[str, Any], method: str, path: str, body: object, command: Command
) -> None:
    entry = Entry("k1", "k", "kafka", kind, data, key="o1")
    record = as_record(entry)
    request = to_request([(str(name), value) for name, value in record.headers], record.value)
    assert as_request(entry) == (method, path, body)
    assert (record.key, request.command) == (b"o1", command)


def test_a_hold_is_extended_over_http_with_a_key() -> None:
    entry = Entry("h1", "h", "http", "hold_order", {"order_id": "o1", "hold_for": 3}, idempotency_key="key-h1")
    request = as_request(entry)
    head, body = as_bytes(*request, entry.id, entry.idempotency_key)
    assert request == ("PUT", "/v1/orders/o1/hold", {"hold_for": 3})
    assert b"\r\nIdempotency-Key: key-h1\r\n" in head
    assert json.loads(body) == {"hold_for": 3}


def test_a_request_whose_key_is_in_use_has_no_definite_answer() -> None:
    assert not Answer(0.0, 0.1, 409, {"code": "idempotency-key-in-use"}).is_definite
    assert Answer(0.0, 0.1, 409, {"code": "out-of-stock"}).is_definite


class _Record(Message):  # type: ignore[misc, unused-ignore] # a class of C
    """A record as the reader sees it."""

    def __init__(self, value: bytes | None, *, key: bytes | None = None, **headers: bytes) -> None:
        self._value = value
        self._key = key
        self._headers: list[tuple[str, str | bytes | None]] = [
            (name.replace("_type", "-type") if "content" in name else name, raw) for name, raw in headers.items()
        ]

    def topic(self) -> str:
        return "in"

    def partition(self) -> int:
        return 3

    def offset(self) -> int:
        return 7

    def key(self, *_: Any) -> bytes | None:
        return self._key

    def value(self, *_: Any) -> bytes | None:
        return self._value

    def headers(self) -> list[tuple[str, str | bytes | None]]:
        return self._headers


STRUCTURED = b"application/cloudevents+json; charset=utf-8"


def test_an_event_of_an_order_is_about_the_order() -> None:
    headers = {"ce_id": b"e1", "ce_type": b"order_placed.v1", "ce_subject": b"o1", "ce_causationid": b"k1"}
    value = json.dumps({"order_id": "o1", "lines": LINES}).encode()
    event = to_event(_Record(value, key=b"o1", ce_time=b"2030-01-01T00:00:00+00:00", **headers))
    assert (event.subject, event.sequence, event.data["lines"]) == ("o1", None, LINES)


@pytest.mark.parametrize(
    ("record", "name"),
    [
        (_Record(b"{}", ce_id=b"k1"), "k1"),
        (_Record(b"{}"), "in[3]@7"),
        (_Record(b"{}", ce_id=b"k1", **{OTHER_CONTENT: b"1"}), "in[3]@7"),
        (_Record(None, ce_id=b" \xff"), " \N{REPLACEMENT CHARACTER}"),
        (_Record(json.dumps({"id": "k2"}).encode(), content_type=STRUCTURED), "k2"),
        (_Record(b'{"id": "k2"', content_type=STRUCTURED), "in[3]@7"),
        (_Record(b"[" * 100_000, content_type=STRUCTURED), "in[3]@7"),
        (_Record(None, content_type=STRUCTURED), "in[3]@7"),
    ],
)
def test_every_record_has_a_name(record: Message, name: str) -> None:
    assert message_id(record) == name


def _message(number: int, sent: float, sku: str = CHAIR) -> tuple[Entry, Answer]:
    answer = Answer(sent, sent + 0.01, 200)
    return Entry(f"k{number}", "k", "kafka", "allocate", {"sku": sku}, [answer]), answer


def _event(number: int, created: float, sku: str = CHAIR) -> Event:
    return Event(f"e{number}", "line_allocated.v1", sku, number, {}, f"k{number}", created)


def test_delays_are_measured_from_the_first_sending_to_the_first_event() -> None:
    answers = [_message(1, 10.0), _message(2, 11.0), _message(3, 11.0, "TABLE"), _message(4, 30.0), _message(5, 12.0)]
    arrivals = [
        (10.5, _event(1, 10.1)),
        (19.0, _event(1, 10.1)),
        (12.5, _event(2, 11.5)),
        (12.0, _event(3, 11.1, "TABLE")),
    ]
    assert delays.messages(answers, arrivals, Span(10, 20), {"TABLE"}) == Delays(2, 1.0, 1.45)
    assert delays.events(arrivals, Span(11, 20), {"TABLE"}).median == 1.0


def test_an_order_counts_where_none_of_its_skus_is_left_out() -> None:
    answer = Answer(10.0, 10.5, 201)
    entry = Entry("h1", "h", "http", "place_order", {"order_id": "o1", "lines": LINES}, [answer])
    assert delays.requests([(entry, answer)], Span(10, 20)).count == 1
    assert delays.requests([(entry, answer)], Span(10, 20), {"TABLE"}).count == 0


@pytest.mark.parametrize(
    ("during", "what"),
    [
        (Delays(50, 0.3, 0.6), None),
        (Delays(50, 0.9, 0.9), "the median"),
        (Delays(50, 0.3, 9.0), "the 95th of a hundred"),
        (Delays(3, 0.1, 0.1), "too few"),
    ],
)
def test_only_what_has_grown_is_complained_of(during: Delays, what: str | None) -> None:
    found = delays.complaints("messages", Delays(50, 0.2, 0.5), during)
    assert len(found) == (what is not None)
    assert all(what in complaint for complaint in found if what is not None)
