"""CloudEvents 1.0: encoding for Kafka and as JSON, and a strict and a lenient parser of Kafka records.

Source: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/kafka-protocol-binding.md
"""

import base64
import binascii
import json
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from app.integration.json_syntax import MalformedJsonError, parse_json

SPECVERSION = "1.0"
MAX_ATTRIBUTE_LENGTH = 255
MAX_SOURCE_LENGTH = 2048
_PREFIX = "ce_"
_STRUCTURED = "application/cloudevents"
_CONTENT_TYPE = "content-type"
_TRACEPARENT = "traceparent"
_SPECVERSION_HEADER = ("ce_specversion", SPECVERSION.encode())
_JSON_HEADER = (_CONTENT_TYPE, b"application/json")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_JSON_TYPES = {bool: "boolean", int: "number", float: "number", list: "array", dict: "object"}
_MAX_QUOTED = 64


class UnreadableMessageError(Exception):
    """The record is not a valid message. The text gives the reason, for operators.

    `message_id` is the id of the message, if it could be read.
    """

    message_id: str | None = None


class CloudEvent(NamedTuple):
    """An event on the wire: its context attributes as text, and its data as JSON bytes. A missing attribute is empty.

    A named tuple, because the relay builds one for each row, and a frozen dataclass takes three times as long to build.
    """

    id: str
    type: str
    data: bytes
    source: str = ""
    time: str = ""
    subject: str = ""
    correlation_id: str = ""
    causation_id: str = ""
    sequence: str | None = None
    traceparent: str | None = None

    def to_record(self) -> tuple[list[tuple[str, bytes]], bytes]:
        """The headers and the value of a record in binary mode."""
        headers = [
            _SPECVERSION_HEADER,
            ("ce_id", self.id.encode()),
            ("ce_type", self.type.encode()),
            ("ce_source", self.source.encode()),
            ("ce_time", self.time.encode()),
            ("ce_subject", self.subject.encode()),
            ("ce_correlationid", self.correlation_id.encode()),
            ("ce_causationid", self.causation_id.encode()),
            _JSON_HEADER,
        ]
        if self.sequence is not None:
            headers.append(("ce_sequence", self.sequence.encode()))
        if self.traceparent is not None:
            # SDKs pass on the attributes of an event and no other header, so the trace is an attribute as well.
            traceparent = self.traceparent.encode()
            headers += (_TRACEPARENT, traceparent), ("ce_traceparent", traceparent)
        return headers, self.data

    def to_json(self) -> bytes:
        """The event in structured mode. The data, which have to be JSON, are included byte for byte."""
        attributes = {
            "specversion": SPECVERSION,
            "id": self.id,
            "source": self.source,
            "type": self.type,
            "subject": self.subject,
            "time": self.time,
            "datacontenttype": "application/json",
            "correlationid": self.correlation_id,
            "causationid": self.causation_id,
        }
        if self.sequence is not None:
            attributes["sequence"] = self.sequence
        if self.traceparent is not None:
            attributes[_TRACEPARENT] = self.traceparent
        return b'%b,"data":%b}' % (json.dumps(attributes, separators=(",", ":"))[:-1].encode(), self.data)


def parse(headers: Iterable[tuple[str, bytes | None]], value: bytes | None) -> CloudEvent:
    """Read an inbound record, in binary or in structured mode. Raises UnreadableMessageError.

    A header that CloudEvents defines (`ce_…`, `content-type`) may appear once (names are case-insensitive); other
    headers may repeat. `id` and `type` are required. `source` is optional, because earlier releases did not read it.
    Other attributes are ignored if they are malformed. The trace is in the header `traceparent` of the transport, or
    else in the distributed tracing extension, which SDKs send as `ce_traceparent`.
    """
    texts = _decoded(headers)
    if value is None:
        message = "the record has no value"
        raise UnreadableMessageError(message)
    content_type = texts.get(_CONTENT_TYPE, "").lower()
    attributes: Mapping[str, Any] = {
        name.removeprefix(_PREFIX): text for name, text in texts.items() if name.startswith(_PREFIX)
    }
    data = value
    if content_type.startswith(_STRUCTURED):
        attributes, data = _structured(content_type, value)
    elif not attributes and (event := _structured_without_header(value)) is not None:
        attributes, data = event, _data_of(event)
    _check_version(attributes.get("specversion"))
    return CloudEvent(
        id=_required(attributes, "id"),
        type=_required(attributes, "type"),
        data=data,
        source="" if attributes.get("source") is None else _required(attributes, "source", MAX_SOURCE_LENGTH),
        time=_optional(attributes, "time") or "",
        subject=_optional(attributes, "subject") or "",
        correlation_id=_optional(attributes, "correlationid") or "",
        causation_id=_optional(attributes, "causationid") or "",
        sequence=_optional(attributes, "sequence"),
        traceparent=well_formed(texts.get(_TRACEPARENT)) or _optional(attributes, _TRACEPARENT),
    )


def parse_leniently(headers: Iterable[tuple[str, bytes | None]], value: bytes | None) -> CloudEvent:
    """Read a record of our own topic, as `CloudEvent.to_record` makes it. Never raises.

    Other programs may write to that topic, so attributes may be missing or malformed: the caller checks those that it
    needs. Bytes are decoded as `parse` decodes them.
    """
    texts = {name: raw.decode(errors="surrogateescape") for name, raw in headers if raw is not None}
    return CloudEvent(
        id=texts.get("ce_id", ""),
        type=texts.get("ce_type", ""),
        data=value or b"",
        source=texts.get("ce_source", ""),
        time=texts.get("ce_time", ""),
        subject=texts.get("ce_subject", ""),
        correlation_id=texts.get("ce_correlationid", ""),
        causation_id=texts.get("ce_causationid", ""),
        sequence=texts.get("ce_sequence"),
        traceparent=texts.get(_TRACEPARENT),
    )


def well_formed(value: object, max_length: int = MAX_ATTRIBUTE_LENGTH) -> str | None:
    """The value if it is a text of 1 to `max_length` printable characters without outer blanks, else None."""
    if isinstance(value, str) and 0 < len(value) <= max_length and value.isprintable() and value == value.strip():
        return value
    return None


def _decoded(headers: Iterable[tuple[str, bytes | None]]) -> dict[str, str]:
    """The decoded headers of CloudEvents and the trace. Other headers may contain any bytes and are skipped.

    Bytes that are not UTF-8 become lone surrogates, which no attribute may contain.
    """
    texts: dict[str, str] = {}
    seen: set[str] = set()
    for given, raw in headers:
        name = given.lower()
        if name.startswith(_PREFIX) or name == _CONTENT_TYPE:
            if name in seen:
                raise UnreadableMessageError(f"the header {name[:_MAX_QUOTED]!r} appears more than once")
            seen.add(name)
        elif name != _TRACEPARENT:
            continue
        if raw is not None:
            texts[name] = raw.decode(errors="surrogateescape")
    return texts


def _check_version(version: object) -> None:
    if version is None or version == SPECVERSION:
        return
    if not isinstance(version, str):
        raise UnreadableMessageError(f'specversion is a JSON {_JSON_TYPES[type(version)]}; send the string "1.0"')
    raise UnreadableMessageError(f"specversion {version[:_MAX_QUOTED]!r} is not {SPECVERSION}")


def _required(attributes: Mapping[str, Any], name: str, max_length: int = MAX_ATTRIBUTE_LENGTH) -> str:
    """An attribute that must be a string. In JSON, null stands for a missing attribute."""
    given = attributes.get(name)
    if given is None:
        message = f"no {name}: send it as the header ce_{name}, or in structured mode as the attribute {name}"
        raise UnreadableMessageError(message)
    if not isinstance(given, str):
        raise UnreadableMessageError(f"{name} is a JSON {_JSON_TYPES[type(given)]}; send a string")
    value = well_formed(given, max_length)
    if value is None:
        message = f"{name} is not a string of 1 to {max_length} printable characters"
        raise UnreadableMessageError(message)
    return value


def _optional(attributes: Mapping[str, Any], name: str) -> str | None:
    """An attribute as a header has it: JSON integers and booleans as text. None if it is missing or malformed."""
    value = attributes.get(name)
    return well_formed(json.dumps(value) if isinstance(value, int) else value)


def _structured(content_type: str, value: bytes) -> tuple[dict[str, Any], bytes]:
    media_type = content_type.partition(";")[0].strip()
    if media_type != f"{_STRUCTURED}+json":
        message = f"content-type {media_type[:_MAX_QUOTED]!r} is not supported; use {_STRUCTURED}+json or binary mode"
        raise UnreadableMessageError(message)
    try:
        attributes = parse_json(value.removeprefix(_BYTE_ORDER_MARK))
    except MalformedJsonError as error:
        raise UnreadableMessageError(f"the structured event cannot be read as JSON: {error}") from None
    if not isinstance(attributes, dict):
        message = "the structured event is not a JSON object"
        raise UnreadableMessageError(message)
    return attributes, _data_of(attributes)


def _structured_without_header(value: bytes) -> dict[str, Any] | None:
    """A structured event without a content-type header, as the official Python SDK before 2.0 sends it."""
    try:
        event = parse_json(value)
    except MalformedJsonError:
        return None
    return event if isinstance(event, dict) and "specversion" in event else None


def _data_of(event: Mapping[str, Any]) -> bytes:
    if event.get("data_base64") is None:
        return json.dumps(event.get("data")).encode()
    try:
        return base64.b64decode(event["data_base64"], validate=True)
    except (binascii.Error, TypeError, ValueError):
        message = "data_base64 is not base64"
        raise UnreadableMessageError(message) from None
