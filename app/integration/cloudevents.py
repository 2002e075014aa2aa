"""CloudEvents 1.0 over Kafka, as far as this service needs it.

Source: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/kafka-protocol-binding.md
"""

import base64
import binascii
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

SPECVERSION = "1.0"
MAX_ATTRIBUTE_LENGTH = 255
MAX_SOURCE_LENGTH = 2048
_STRUCTURED = "application/cloudevents"
# Other headers belong to others and may hold anything.
_HEADERS = frozenset(
    {"content-type", "traceparent", "ce_specversion", "ce_id", "ce_source", "ce_type", "ce_correlationid"}
)


class UnreadableMessageError(Exception):
    """The bytes are no message that this service knows. The text says why, for whoever mends it.

    `message_id` is the id of the message, where that much could be read.
    """

    message_id: str | None = None


@dataclass(frozen=True, slots=True)
class CloudEvent:
    """An incoming event: its context attributes as far as they are used, and its data as JSON bytes.

    `source` is empty where the sender gave none: CloudEvents requires it, but this service did not always read it.
    """

    id: str
    type: str
    data: bytes
    source: str = ""
    correlation_id: str | None = None
    traceparent: str | None = None


def parse(headers: Iterable[tuple[str, bytes | None]], value: bytes | None) -> CloudEvent:
    """Read a record in binary or in structured mode. Raises UnreadableMessageError."""
    texts = {name: _text(raw) for key, raw in headers if raw is not None and (name := key.lower()) in _HEADERS}
    content_type = texts.get("content-type", "").lower()
    if value is None:
        message = "the record has no value"
        raise UnreadableMessageError(message)
    if content_type.startswith(_STRUCTURED):
        attributes, data = _structured(content_type, value)
    else:
        attributes = {name.removeprefix("ce_"): text for name, text in texts.items()}
        data = value
    version = attributes.get("specversion", SPECVERSION)
    if version != SPECVERSION:
        message = f"specversion {version!r} is not {SPECVERSION}"
        raise UnreadableMessageError(message)
    return CloudEvent(
        id=_required(attributes, "id"),
        type=_required(attributes, "type"),
        data=data,
        source=_required(attributes, "source", MAX_SOURCE_LENGTH) if attributes.get("source") is not None else "",
        correlation_id=well_formed(attributes.get("correlationid")),
        traceparent=well_formed(texts.get("traceparent") or attributes.get("traceparent")),
    )


def well_formed(value: object, max_length: int = MAX_ATTRIBUTE_LENGTH) -> str | None:
    """The value where it is a text of 1 to `max_length` printable characters without outer blanks; else None."""
    if isinstance(value, str) and 0 < len(value) <= max_length and value.isprintable() and value == value.strip():
        return value
    return None


def _text(raw: bytes) -> str:
    """The text of a header. Bytes that are no UTF-8 become characters that no attribute may have."""
    return raw.decode(errors="surrogateescape")


def _required(attributes: Mapping[str, Any], name: str, max_length: int = MAX_ATTRIBUTE_LENGTH) -> str:
    if name not in attributes:
        message = f"no {name}: send it as the header ce_{name}, or in structured mode as the attribute {name}"
        raise UnreadableMessageError(message)
    value = well_formed(attributes[name], max_length)
    if value is None:
        message = f"{name} is not a text of 1 to {max_length} printable characters"
        raise UnreadableMessageError(message)
    return value


def _structured(content_type: str, value: bytes) -> tuple[dict[str, Any], bytes]:
    media_type = content_type.partition(";")[0].strip()
    if media_type != f"{_STRUCTURED}+json":
        message = f"content-type {media_type!r} is not supported; use {_STRUCTURED}+json or binary mode"
        raise UnreadableMessageError(message)
    try:
        attributes = json.loads(value)
    except (ValueError, RecursionError):
        message = "the structured event is not JSON"
        raise UnreadableMessageError(message) from None
    if not isinstance(attributes, dict):
        message = "the structured event is not a JSON object"
        raise UnreadableMessageError(message)
    if "data_base64" in attributes:
        try:
            return attributes, base64.b64decode(attributes["data_base64"], validate=True)
        except (binascii.Error, TypeError, ValueError):
            message = "data_base64 is not base64"
            raise UnreadableMessageError(message) from None
    return attributes, json.dumps(attributes.get("data")).encode()
