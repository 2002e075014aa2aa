"""Cursors of the feed: the id of the topic, and the next offset of each partition.

A cursor is base64url of: the version of the format, the id of the topic (16 bytes), each offset as a varint, and a CRC
of all that. The CRC detects text that was cut or mistyped, which could be a cursor of another place.
"""

import base64
import binascii
import zlib
from collections.abc import Iterable, Sequence

from app.service_layer.feed import InvalidFeedCursorError

_VERSION = 1
_ID_BYTES = 16
_CRC_BYTES = 4
_MORE = 0x80
"""The bit of a byte of a varint that is not the last one."""

_MOST_OFFSET = 2**63 - 1


def encode(topic_id: bytes, positions: Iterable[int]) -> str:
    """The cursor of the positions."""
    content = bytearray((_VERSION,))
    content += topic_id
    for position in positions:
        rest = position
        while rest >= _MORE:
            content.append(rest % _MORE | _MORE)
            rest >>= 7
        content.append(rest)
    content += zlib.crc32(content).to_bytes(_CRC_BYTES, "big")
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def decode(cursor: str) -> tuple[bytes, tuple[int, ...]]:
    """The id of the topic, and the positions. Raises InvalidFeedCursorError."""
    try:
        whole = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        whole = b""
    content, crc = whole[:-_CRC_BYTES], whole[-_CRC_BYTES:]
    head = 1 + _ID_BYTES
    if len(content) <= head or content[0] != _VERSION or zlib.crc32(content).to_bytes(_CRC_BYTES, "big") != crc:
        raise InvalidFeedCursorError("Input should be a cursor of this feed, or earliest")
    return content[1:head], _positions(content[head:])


def _positions(content: bytes) -> tuple[int, ...]:
    positions: list[int] = []
    value = shift = 0
    for byte in content:
        value |= (byte % _MORE) << shift
        shift += 7
        if byte < _MORE:
            positions.append(value)
            value = shift = 0
    if shift or max(positions) > _MOST_OFFSET:
        raise InvalidFeedCursorError("Input should be a cursor of this feed, or earliest")
    return tuple(positions)


def padded(positions: Sequence[int], partitions: int) -> tuple[int, ...]:
    """The positions with 0 for each partition that was added since: all its events are newer."""
    return (*positions, *(0 for _ in range(partitions - len(positions))))
