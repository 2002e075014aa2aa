"""Messages from upstream: CloudEvents in binary and in structured mode, and malformed messages."""

import base64
import json
from datetime import date
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.commands import (
    CancelAllocation,
    CancelOrder,
    ChangeBatchEta,
    ChangeBatchQuantity,
    ChangeBatchTerms,
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
from tests.support.inbound import ALLOCATE, LINE, STRUCTURED, binary, structured


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
        ("batch_changed.v1", {"ref": "b", "blocked": True}, ChangeBatchTerms(ref="b", blocked=True)),
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
    if ce_type == "batch_changed.v1":
        required["blocked"] = True
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
