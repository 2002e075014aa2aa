"""Records of several kinds that cannot be handled, as other programs might write them to the topics."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from faults.foreign import LARGEST, Header, Record

ORDER = {"order_id": "poison", "sku": "SKU-HOT", "qty": 1}
LINE = json.dumps(ORDER).encode()
ALLOCATE = b"allocation_required.v1"
STRUCTURED = ("content-type", b"application/cloudevents+json")
DEPTH = 100_000

# The size of a batch, a record and its headers without the value.
OVERHEAD = 400


@dataclass(frozen=True, slots=True)
class Poison:
    """A kind of poison. `has_id`: its id can be read. `reason` is a part of its letter's reason."""

    headers: Callable[[str], Sequence[Header]]
    value: Callable[[str], bytes | None]
    reason: str
    has_id: bool = False

    def record(self, name: str) -> Record:
        """A record of this kind; the name is its id, if it has one."""
        return Record(b"SKU-HOT", self.value(name), self.headers(name))


def _binary(value: bytes | None, reason: str, ce_type: bytes = ALLOCATE, *, has_id: bool = True) -> Poison:
    """A record with valid headers."""
    return Poison(lambda name: [("ce_id", name.encode()), ("ce_type", ce_type)], lambda _: value, reason, has_id)


def _odd_id(prefix: bytes, suffix: bytes = b"") -> Poison:
    """A message that is valid except for its id."""
    return Poison(
        lambda name: [("ce_id", prefix + name.encode() + suffix), ("ce_type", ALLOCATE)], lambda _: LINE, "id is not"
    )


def _structured(value: Callable[[str], bytes], reason: str, *, has_id: bool = False) -> Poison:
    return Poison(lambda _: [STRUCTURED], value, reason, has_id)


def _event(name: str, **attributes: object) -> bytes:
    return json.dumps({"specversion": "1.0", "id": name, "type": ALLOCATE.decode(), **attributes}).encode()


POISON: dict[str, Poison] = {
    "undecodable": _binary(b"\xff\xfe\x00\x80" * 8, "data: Invalid JSON"),
    "empty": _binary(b"", "data: Invalid JSON"),
    "null": _binary(None, "no value", has_id=False),
    "no-headers": Poison(lambda _: [], lambda _: LINE, "no id"),
    "no-type": Poison(lambda name: [("ce_id", name.encode())], lambda _: LINE, "no type"),
    "unknown-type": _binary(LINE, "unknown type 'allocation_required.v99'", b"allocation_required.v99"),
    "type-no-text": _binary(LINE, "type is not a string", b"\xff\x00", has_id=False),
    "id-blank": _odd_id(b" "),
    "id-long": _odd_id(b"x" * 255),
    "id-no-text": _odd_id(b"\xff\xfe"),
    "id-null-character": _odd_id(b"", b"\x00"),
    "id-twice": Poison(
        lambda name: [("ce_id", name.encode()), ("CE_ID", name.encode()), ("ce_type", ALLOCATE)],
        lambda _: LINE,
        "'ce_id' appears more than once",
    ),
    "source-blank": Poison(
        lambda name: [("ce_id", name.encode()), ("ce_source", b" "), ("ce_type", ALLOCATE)],
        lambda _: LINE,
        "source is not a string",
    ),
    "name-twice": _binary(LINE[:-1] + b', "qty": 1}', "the same name twice"),
    "other-version": Poison(
        lambda name: [("ce_specversion", b"2.0"), ("ce_id", name.encode()), ("ce_type", ALLOCATE)],
        lambda _: LINE,
        "specversion '2.0'",
    ),
    "other-shape": _binary(b'["order-1", "SKU-HOT", 1]', "Input should be"),
    "missing-field": _binary(b'{"order_id": "poison"}', "sku: Field required; qty: Field required"),
    "quantity-as-text": _binary(json.dumps({**ORDER, "qty": "1"}).encode(), "qty: Input should be a valid integer"),
    "quantity-too-large": _binary(json.dumps({**ORDER, "qty": 2**31}).encode(), "qty: Input should be less"),
    "quantity-endless": _binary(
        b'{"order_id": "poison", "sku": "SKU-HOT", "qty": ' + b"9" * 5000 + b"}", "out of range"
    ),
    "null-character": _binary(json.dumps({**ORDER, "order_id": "a\x00b"}).encode(), "order_id: "),
    "lone-surrogate": _binary(b'{"order_id": "\\ud800", "sku": "SKU-HOT", "qty": 1}', "Invalid JSON"),
    "deep": _binary(b"[" * DEPTH + b"]" * DEPTH, "recursion limit"),
    "deep-and-ignored": _binary(LINE[:-1] + b', "more": ' + b"[" * DEPTH + b"]" * DEPTH + b"}", "recursion limit"),
    "deep-structured": _structured(
        lambda name: _event(name)[:-1] + b', "data": ' + b"[" * DEPTH + b"]" * DEPTH + b"}", "cannot be read as JSON"
    ),
    "truncated-structured": _structured(lambda name: _event(name, data=ORDER)[:-20], "cannot be read as JSON"),
    "structured-base64": _structured(lambda name: _event(name, data_base64="?"), "data_base64 is not base64"),
    "structured-version": _structured(
        lambda name: _event(name, specversion=1.0, data=ORDER), "specversion is a JSON number"
    ),
    "structured-shape": _structured(lambda name: _event(name, data=[]), "Input should be", has_id=True),
    "structured-avro": Poison(
        lambda _: [("content-type", b"application/cloudevents+avro")], lambda _: b"\x02\x04", "is not supported"
    ),
    "header-no-text": Poison(
        lambda name: [("ce_id", name.encode()), ("ce_type", ALLOCATE), (b"\xff\xfe-name", b"\xff"), ("none", None)],
        lambda _: b"{}",
        "order_id: Field required",
        has_id=True,
    ),
    "large": Poison(
        lambda name: [("ce_id", name.encode()), ("ce_type", ALLOCATE)],
        lambda _: b'"' + b"x" * (LARGEST - OVERHEAD) + b'"',
        "Input should be",
        has_id=True,
    ),
}
