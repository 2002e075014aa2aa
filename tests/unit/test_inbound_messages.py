"""Messages from upstream: CloudEvents in binary and in structured mode, and malformed messages."""

import base64
import json
from datetime import date
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from app.domain.commands import (
    Allocate,
    CancelAllocation,
    CancelOrder,
    ChangeBatchEta,
    ChangeBatchQuantity,
    ChangeLineQuantity,
    Command,
    CountBatch,
    CountProduct,
    CreateBatch,
    OrderedLine,
    PlaceOrder,
    ShipLine,
)
from app.integration.asyncapi import asyncapi_document
from app.integration.cloudevents import UnreadableMessageError, parse
from app.integration.inbound import INBOUND_MESSAGES
from app.service_layer.inbox import to_request
from app.service_layer.ports import Cause

LINE = {"order_id": "order-1", "sku": "CHAIR", "qty": 3}
ALLOCATE = Allocate(order_id="order-1", sku="CHAIR", qty=3)
STRUCTURED: list[tuple[str, bytes | None]] = [("content-type", b"application/cloudevents+json; charset=utf-8")]


def binary(**attributes: str) -> list[tuple[str, bytes | None]]:
    given = {"id": "message-1", "type": "allocation_required.v1", **attributes}
    return [(f"ce_{name}", value.encode()) for name, value in given.items()]


def structured(**attributes: Any) -> bytes:
    given = {"specversion": "1.0", "id": "message-1", "type": "allocation_required.v1", "data": LINE, **attributes}
    return json.dumps({name: value for name, value in given.items() if value is not ...}).encode()


@pytest.mark.parametrize(
    ("ce_type", "data", "command"),
    [
        ("batch_created.v1", {"ref": "b", "sku": "S", "qty": 1}, CreateBatch(ref="b", sku="S", qty=1)),
        (
            "batch_created.v1",
            {"ref": "b", "sku": "S", "qty": 1, "eta": "2030-01-01"},
            CreateBatch(ref="b", sku="S", qty=1, eta=date(2030, 1, 1)),
        ),
        ("batch_quantity_changed.v1", {"ref": "b", "qty": 0}, ChangeBatchQuantity(ref="b", qty=0)),
        ("batch_eta_changed.v1", {"ref": "b", "eta": None}, ChangeBatchEta(ref="b", eta=None)),
        (
            "stock_counted.v1",
            {"ref": "b", "on_hand_qty": 5, "shipped_qty": 2, "reason": "recount", "reference": "list-3"},
            CountBatch(ref="b", on_hand_qty=5, shipped_qty=2, reason="recount", reference="list-3"),
        ),
        ("stock_counted.v1", {"ref": "b", "on_hand_qty": 0, "shelf": "A3"}, CountBatch(ref="b", on_hand_qty=0)),
        (
            "stock_counted.v1",
            {"sku": "S", "on_hand_qty": 5, "expected_on_hand_qty": 7, "reason": "lost"},
            CountProduct(sku="S", on_hand_qty=5, expected_on_hand_qty=7, reason="lost"),
        ),
        ("allocation_required.v1", LINE, ALLOCATE),
        (
            "allocation_required.v1",
            {**LINE, "if_unavailable": "reject"},
            ALLOCATE.model_copy(update={"if_unavailable": "reject"}),
        ),
        (
            "batch_quantity_changed.v1",
            {"ref": "b", "qty": 0, "reason": "lost", "reference": "report-17"},
            ChangeBatchQuantity(ref="b", qty=0, reason="lost", reference="report-17"),
        ),
        (
            "batch_eta_changed.v1",
            {"ref": "b", "eta": None, "reallocate": True},
            ChangeBatchEta(ref="b", eta=None, reallocate=True),
        ),
        ("line_quantity_changed.v1", LINE, ChangeLineQuantity(order_id="order-1", sku="CHAIR", qty=3)),
        ("allocation_cancelled.v1", {"order_id": "o", "sku": "S"}, CancelAllocation(order_id="o", sku="S")),
        ("line_shipped.v1", {"order_id": "o", "sku": "S"}, ShipLine(order_id="o", sku="S")),
        (
            "order_placed.v1",
            {"order_id": "o", "lines": [{"sku": "S", "qty": 1, "colour": "red"}], "if_unavailable": "reject"},
            PlaceOrder(order_id="o", lines=[OrderedLine(sku="S", qty=1)], if_unavailable="reject"),
        ),
        ("order_cancelled.v1", {"order_id": "o"}, CancelOrder(order_id="o")),
    ],
)
def test_every_type_becomes_its_command_in_either_mode(ce_type: str, data: dict[str, Any], command: Command) -> None:
    request = to_request(binary(type=ce_type), json.dumps(data).encode())

    assert request.command == command
    assert to_request(STRUCTURED, structured(type=ce_type, data=data)).command == command
    assert request.message_id == "message-1"


@pytest.mark.parametrize(
    "data",
    [{}, {"on_hand_qty": 5}, {"ref": "b"}, {"ref": "b", "sku": "S", "on_hand_qty": 5}, {"ref": "b", "on_hand_qty": -1}],
)
def test_a_count_is_of_either_a_batch_or_a_product(data: dict[str, Any]) -> None:
    with pytest.raises(UnreadableMessageError, match=r"stock_counted\.v1: "):
        to_request(binary(type="stock_counted.v1"), json.dumps(data).encode())


@pytest.mark.parametrize("ce_type", sorted(INBOUND_MESSAGES.keys() - {"stock_counted.v1"}))
def test_a_documented_default_may_be_sent_explicitly(ce_type: str) -> None:
    payload = asyncapi_document()["components"]["messages"][f"in.{ce_type}"]["payload"]
    values = {**LINE, "ref": "b", "eta": "2030-01-01", "lines": [{"sku": "S", "qty": 1}]}
    required = {name: values[name] for name in payload["required"]}
    properties = payload["properties"].items()
    defaults = {name: facts["default"] for name, facts in properties if "default" in facts}

    command = to_request(binary(type=ce_type), json.dumps(required).encode()).command

    assert to_request(binary(type=ce_type), json.dumps(required | defaults).encode()).command == command


def test_a_reference_with_control_characters_is_not_read() -> None:
    data = {"ref": "b", "qty": 0, "reference": "report\n17"}
    with pytest.raises(UnreadableMessageError, match="reference"):
        to_request(binary(type="batch_quantity_changed.v1"), json.dumps(data).encode())


def test_fields_that_are_not_known_are_ignored() -> None:
    assert to_request(binary(), json.dumps({**LINE, "colour": "red"}).encode()).command == ALLOCATE


def test_a_message_starts_a_conversation_or_goes_on_with_one() -> None:
    body = json.dumps(LINE).encode()
    headers = [*binary(correlationid="conversation-7"), ("traceparent", b"00-abc-def-01")]

    assert to_request(binary(), body).cause == Cause("message-1", "message-1")
    assert to_request(headers, body).cause == Cause("message-1", "conversation-7", "00-abc-def-01")
    event = structured(correlationid="conversation-7", traceparent="00-abc-def-01")
    assert to_request(STRUCTURED, event).cause == Cause("message-1", "conversation-7", "00-abc-def-01")


def test_header_names_are_read_in_any_case() -> None:
    headers = [(name.upper(), value) for name, value in binary()]

    assert to_request(headers, json.dumps(LINE).encode()).command == ALLOCATE


def test_the_headers_of_others_may_hold_anything() -> None:
    headers = [
        *binary(),
        ("x-agent", b"\xff\xfe"),
        ("empty", None),
        ("", b""),
        ("ce_extension", b"\xff"),
        ("x-agent", b""),
    ]

    assert to_request(headers, json.dumps(LINE).encode()).command == ALLOCATE


def test_null_means_that_an_attribute_is_absent() -> None:
    request = to_request(STRUCTURED, structured(source=None, specversion=None, data_base64=None, correlationid=None))

    assert (request.message and request.message.identity) == ("", "message-1")
    assert request.cause.correlation_id == "message-1"


@pytest.mark.parametrize("source", ["/purchasing", "https://shop.example/orders?a=b#c", "urn:uuid:1", "ä", "a" * 2048])
def test_the_identity_of_a_message_is_its_source_and_its_id(source: str) -> None:
    for headers, value in ((binary(source=source), json.dumps(LINE).encode()), (STRUCTURED, structured(source=source))):
        message = to_request(headers, value).message
        assert message is not None
        assert message.identity == (source, "message-1")


@pytest.mark.parametrize(("number", "text"), [(7, "7"), (0, "0"), (True, "true")])
def test_an_extension_that_is_no_text_in_json_is_read_as_its_header_would_be(number: int, text: str) -> None:
    in_binary = to_request(binary(correlationid=text), json.dumps(LINE).encode())

    assert to_request(STRUCTURED, structured(correlationid=number)).cause == in_binary.cause


def test_the_trace_is_that_of_the_transport_and_otherwise_that_of_the_event() -> None:
    body, odd = json.dumps(LINE).encode(), ("traceparent", b"\xff")
    extension, transport = "00-abc-def-01", ("traceparent", b"00-123-456-01")

    assert to_request(binary(traceparent=extension), body).cause.traceparent == extension
    assert to_request([*binary(traceparent=extension), odd], body).cause.traceparent == extension
    for headers in ([transport, *binary(traceparent=extension)], [*binary(traceparent=extension), transport]):
        assert to_request(headers, body).cause.traceparent == "00-123-456-01"
    assert to_request([*STRUCTURED, transport], structured(traceparent=extension)).cause.traceparent == "00-123-456-01"


@pytest.mark.parametrize("correlation", ["", " ", "x" * 256, "a\nb", "a\x00b"])
def test_a_correlation_id_that_cannot_be_forwarded_is_replaced(correlation: str) -> None:
    cause = to_request(binary(correlationid=correlation), json.dumps(LINE).encode()).cause

    assert cause.correlation_id == "message-1"


def test_binary_data_may_come_as_base64_in_structured_mode() -> None:
    data = base64.b64encode(json.dumps(LINE).encode()).decode()

    assert to_request(STRUCTURED, structured(data=..., data_base64=data)).command == ALLOCATE


@pytest.mark.parametrize("message_id", ["m", "x" * 255, "sendung ä/1 {x}", "0" * 36])
def test_takes_any_id_that_can_be_printed(message_id: str) -> None:
    assert to_request(binary(id=message_id), json.dumps(LINE).encode()).message_id == message_id


@pytest.mark.parametrize("message_id", ["", " ", " a", "a ", "x" * 256, "a\x00", "a\nb", "a\u200bb", "\u2028"])
def test_refuses_an_odd_id(message_id: str) -> None:
    with pytest.raises(UnreadableMessageError, match="id is not a string"):
        to_request(binary(id=message_id), json.dumps(LINE).encode())
    with pytest.raises(UnreadableMessageError, match="id is not a string"):
        to_request(STRUCTURED, structured(id=message_id))


@pytest.mark.parametrize("message_id", [1, 1.5, True, ["a"], {"a": 1}])
def test_refuses_an_id_that_is_no_text(message_id: object) -> None:
    with pytest.raises(UnreadableMessageError, match=r"id is a JSON (number|boolean|array|object); send a string"):
        to_request(STRUCTURED, structured(id=message_id))


@pytest.mark.parametrize(
    ("headers", "value", "reason"),
    [
        ([], b"{}", "no id"),
        ([("ce_id", b"1")], b"{}", "no type"),
        ([("ce_id", None), ("ce_type", b"t")], b"{}", "no id"),
        ([("ce_id", b"\xff"), ("ce_type", b"t")], b"{}", "id is not a string"),
        (binary(type="price_changed.v1"), b"{}", "unknown type 'price_changed.v1'; known types: batch_created.v1"),
        (binary(type="allocation_required.v2"), b"{}", "unknown type"),
        (binary(specversion="0.3"), b"{}", "specversion '0.3' is not 1.0"),
        (binary(), None, "no value"),
        (binary(), b"", "allocation_required.v1: data: Invalid JSON"),
        (binary(), b"[]", "allocation_required.v1: data: "),
        (binary(), b"\xff\x00", "Invalid JSON"),
        (binary(), b'{"order_id": "o", "sku": "S"}', "qty: Field required"),
        (binary(), b'{"order_id": "o", "sku": "S", "qty": 1.0}', "qty: "),
        (binary(), b'{"order_id": "o", "sku": "S S", "qty": 0}', "sku: .*; qty: "),
        (STRUCTURED, b"", "cannot be read as JSON"),
        (STRUCTURED, b"\xff", "cannot be read as JSON"),
        (STRUCTURED, b"[1]", "not a JSON object"),
        (STRUCTURED, b"[" * 100_000, "cannot be read as JSON"),
        (STRUCTURED, b'{"n": ' + b"1" * 5000 + b"}", "cannot be read as JSON"),
        (STRUCTURED, structured(id=...), "no id"),
        (STRUCTURED, structured(type=...), "no type"),
        (STRUCTURED, structured(type=7), "type is a JSON number; send a string"),
        (STRUCTURED, structured(specversion=1.0), 'specversion is a JSON number; send the string "1.0"'),
        (STRUCTURED, structured(specversion=1), 'specversion is a JSON number; send the string "1.0"'),
        (STRUCTURED, structured(source=False), "source is a JSON boolean; send a string"),
        (STRUCTURED, structured(source=""), "source is not a string"),
        (STRUCTURED, structured(id=None), "no id"),
        (STRUCTURED, structured(id=["a"]), "id is a JSON array; send a string"),
        (STRUCTURED, structured()[:-1] + b', "id": "another"}', "an object has the same name twice"),
        (STRUCTURED, structured().replace(b'"qty": 3', b'"qty": 3, "qty": 3'), "an object has the same name twice"),
        (STRUCTURED, structured(more=float("nan")), "cannot be read as JSON"),
        (binary(source=""), b"{}", "source is not a string"),
        (binary(source=" /a"), b"{}", "source is not a string"),
        (binary(source="/a\n"), b"{}", "source is not a string"),
        (binary(source="/" + "a" * 2048), b"{}", "source is not a string"),
        ([*binary(), ("ce_source", b"\xff")], b"{}", "source is not a string"),
        ([*binary(), ("ce_id", b"message-1")], b"{}", "the header 'ce_id' appears more than once"),
        ([*binary(), ("CE_Type", b"t")], b"{}", "the header 'ce_type' appears more than once"),
        ([*binary(), ("ce_odd", b"1"), ("ce_odd", None)], b"{}", "the header 'ce_odd' appears more than once"),
        ([*STRUCTURED, ("Content-Type", b"application/json")], structured(), "'content-type' appears more than once"),
        (binary(), b'{"order_id": "o", "sku": "S", "qty": 1, "qty": 1}', "data: an object has the same name twice"),
        (binary(), b'{"order_id": "o", "sku": "S", "qty": 1, "a": [{"b": 1, "b": 2}]}', "the same name twice"),
        (binary(), b'{"order_id": "o", "sku": "S", "qty": 1, "more": NaN}', "allocation_required.v1: data: "),
        (STRUCTURED, structured(data=...), "allocation_required.v1: data: "),
        (STRUCTURED, structured(data=..., data_base64="?"), "data_base64 is not base64"),
        (STRUCTURED, structured(data=..., data_base64=7), "data_base64 is not base64"),
        ([("content-type", b"application/cloudevents-batch+json")], b"[]", "is not supported"),
        ([("content-type", b"application/cloudevents+avro")], b"", "is not supported"),
    ],
)
def test_says_why_a_message_cannot_be_read(
    headers: list[tuple[str, bytes | None]], value: bytes | None, reason: str
) -> None:
    with pytest.raises(UnreadableMessageError, match=reason):
        to_request(headers, value)


def test_the_reason_does_not_repeat_what_was_sent() -> None:
    with pytest.raises(UnreadableMessageError) as refusal:
        to_request(binary(), b'{"order_id": "secret value", "sku": "S", "qty": 1}')

    assert "secret" not in str(refusal.value)


def test_the_id_is_kept_where_only_the_data_cannot_be_read() -> None:
    for headers in (binary(), binary(type="unknown")):
        with pytest.raises(UnreadableMessageError) as refusal:
            to_request(headers, b"?")
        assert refusal.value.message_id == "message-1"


names = st.one_of(
    st.sampled_from(
        ["ce_id", "ce_type", "ce_source", "ce_specversion", "ce_correlationid", "content-type", "traceparent"]
    ),
    st.text(max_size=8),
)
values = st.one_of(
    st.none(),
    st.binary(max_size=40),
    st.sampled_from([b"1", b"1.0", b"allocation_required.v1", b"application/cloudevents+json", b"application/json"]),
)
nested = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=5), children, max_size=3),
    max_leaves=10,
)
events = st.fixed_dictionaries(
    {},
    optional={
        "id": nested | st.just("1"),
        "type": nested | st.just("allocation_required.v1"),
        "specversion": nested | st.just("1.0"),
        "source": nested | st.just("/upstream"),
        "data": nested | st.just(LINE),
        "data_base64": nested | st.just("e30="),
        "correlationid": nested,
        "traceparent": nested,
    },
)
bodies = st.one_of(st.none(), st.binary(max_size=60), events.map(lambda event: json.dumps(event).encode()))


@given(st.lists(st.tuples(names, values), max_size=6), bodies, st.booleans())
@example([("ce_id", b"1"), ("ce_type", b"allocation_required.v1")], json.dumps(LINE).encode(), False)
@settings(max_examples=400, deadline=None)
def test_whatever_comes_is_read_or_refused_and_nothing_else(
    headers: list[tuple[str, bytes | None]], value: bytes | None, in_structured_mode: bool
) -> None:
    try:
        request = to_request(headers + (STRUCTURED if in_structured_mode else []), value)
    except UnreadableMessageError as refusal:
        reason = str(refusal)
    else:
        reason = ""
        assert request.message_id
        assert request.cause.correlation_id
    assert "\x00" not in reason
    assert len(reason) < 2000


@given(st.text())
@settings(deadline=None)
def test_the_attributes_of_binary_and_structured_mode_are_read_alike(message_id: str) -> None:
    def read(headers: list[tuple[str, bytes | None]], value: bytes) -> str | None:
        try:
            return parse(headers, value).id
        except UnreadableMessageError:
            return None

    in_binary: list[tuple[str, bytes | None]] = [("ce_id", message_id.encode()), ("ce_type", b"t")]
    assert read(in_binary, b"{}") == read(STRUCTURED, json.dumps({"id": message_id, "type": "t"}).encode())
