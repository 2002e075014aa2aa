"""Malformed messages from upstream: each is refused with its reason, and nothing else happens."""

import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from app.integration.cloudevents import UnreadableMessageError
from app.service_layer.inbox import to_request
from tests.support.inbound import LINE, STRUCTURED, binary, structured


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
