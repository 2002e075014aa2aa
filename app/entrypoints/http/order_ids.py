"""Order ids that the service generates."""

import secrets
import time
import uuid


def new_order_id() -> str:
    """A UUID of version 7, so that ids sort by time."""
    return str(_uuid7())


def _uuid7() -> uuid.UUID:
    """A UUID of version 7 (RFC 9562, section 5.7): milliseconds, then 74 random bits. Python has one from 3.14 on."""
    milliseconds, random = time.time_ns() // 1_000_000, secrets.randbits(74)
    return uuid.UUID(int=milliseconds << 80 | 7 << 76 | (random >> 62) << 64 | 2 << 62 | random & (1 << 62) - 1)
