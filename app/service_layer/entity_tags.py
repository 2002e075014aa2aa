"""Entity tags (RFC 9110, 8.8.3) of batches and products, and their comparison with what a caller names.

A tag is a digest of values of which at least one changes whenever what is shown changes. Every instance makes the same
tag, and so does one that reads from a replica.
"""

import hashlib
from typing import Protocol

from app.domain.errors import PreconditionFailedError
from app.domain.fields import EntityTags


class Tagged(Protocol):
    """The state of something that has an entity tag."""

    @property
    def tag(self) -> str:
        """The tag, with its quotation marks."""


def entity_tag(*values: object) -> str:
    """A strong entity tag for these values, with its quotation marks."""
    return f'"{hashlib.blake2b(repr(values).encode(), digest_size=12).hexdigest()}"'


def product_tag(sku: str, sequence: int, reorder_point: int | None, available_qty: int, backordered_qty: int) -> str:
    """The entity tag of a product, made of values that the locked product and the read side both know.

    Whatever happens to a product, its batches and its lines raises an event, which changes the sequence; but for the
    reorder point, and for sums that an operator sets right.
    """
    return entity_tag(sku, sequence, reorder_point, available_qty, backordered_qty)


def check_tag(wanted: EntityTags | None, state: Tagged) -> None:
    """Raise PreconditionFailedError unless the state has one of the wanted tags, or none is named."""
    if wanted is not None and wanted.isdisjoint({state.tag, "*"}):
        raise PreconditionFailedError
