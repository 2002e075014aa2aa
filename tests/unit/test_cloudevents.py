"""A published event as bytes, and both ways to read it back."""

import pytest

from app.integration.cloudevents import CloudEvent, parse, parse_leniently
from app.operations.history_recovery import _event
from app.operations.watch import _event as _seen_event
from tests.support.records import record

TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
COMPLETE = CloudEvent(
    id="8b0a2f0e-6f6c-4d3c-9f7f-2f4b8c1d9e10",
    type="line_allocated.v1",
    data=b'{"sku":"RED-CHAIR"}',
    source="/allocation",
    time="2030-01-01T12:00:00.000001Z",
    subject="RED-CHAIR",
    correlation_id="conversation-1",
    causation_id="request-1",
    sequence="7",
    traceparent=TRACEPARENT,
)
OF_AN_ORDER = COMPLETE._replace(sequence=None, traceparent=None)


def test_encodes_the_attributes_as_headers_in_a_fixed_order() -> None:
    headers, value = COMPLETE.to_record()

    assert value == b'{"sku":"RED-CHAIR"}'
    assert headers == [
        ("ce_specversion", b"1.0"),
        ("ce_id", b"8b0a2f0e-6f6c-4d3c-9f7f-2f4b8c1d9e10"),
        ("ce_type", b"line_allocated.v1"),
        ("ce_source", b"/allocation"),
        ("ce_time", b"2030-01-01T12:00:00.000001Z"),
        ("ce_subject", b"RED-CHAIR"),
        ("ce_correlationid", b"conversation-1"),
        ("ce_causationid", b"request-1"),
        ("content-type", b"application/json"),
        ("ce_sequence", b"7"),
        ("traceparent", TRACEPARENT.encode()),
        ("ce_traceparent", TRACEPARENT.encode()),
    ]


def test_leaves_out_the_sequence_and_the_trace_where_there_are_none() -> None:
    names = [name for name, _ in OF_AN_ORDER.to_record()[0]]

    assert names[-1] == "content-type"
    assert len(names) == 9


@pytest.mark.parametrize("event", [COMPLETE, OF_AN_ORDER])
def test_both_readers_return_the_event_that_was_encoded(event: CloudEvent) -> None:
    assert parse(*event.to_record()) == event
    assert parse_leniently(*event.to_record()) == event


def test_the_lenient_reader_accepts_any_record() -> None:
    assert parse_leniently([], None) == CloudEvent(id="", type="", data=b"")
    assert parse_leniently([("ce_id", None), ("ce_type", b"a\xff"), ("x", b"\xff")], b"\xff") == CloudEvent(
        id="", type="a\udcff", data=b"\xff"
    )


@pytest.mark.parametrize("name", ["ce_id", "ce_type", "ce_subject", "ce_time", "ce_correlationid", "traceparent"])
def test_an_attribute_that_is_not_utf8_is_refused_by_history_and_shown_by_watch(name: str) -> None:
    headers, value = COMPLETE.to_record()
    malformed = [(each, b"a\xff" if each == name else raw) for each, raw in headers]

    assert _event(record(malformed, value)) is None
    assert _seen_event(record(malformed, value)).data == {"sku": "RED-CHAIR"}


def test_watch_replaces_bytes_that_are_not_utf8() -> None:
    seen = _seen_event(record([("ce_id", b"a\xff")], b"\xff"))

    assert (seen.id, seen.type, seen.sequence, seen.data) == (
        "a\N{REPLACEMENT CHARACTER}",
        "unknown",
        "",
        "\N{REPLACEMENT CHARACTER}",
    )


def test_history_ignores_headers_of_others() -> None:
    headers, value = COMPLETE.to_record()

    event = _event(record([*headers, ("x", b"\xff")], value))

    assert event is not None
    assert (event.subject, event.sequence, event.data) == ("RED-CHAIR", 7, value.decode())
