"""API keys for tests of the identity of callers."""

from collections.abc import Iterable
from pathlib import Path

from app.adapters.identity.api_keys import append_entry, format_entry, new_key
from app.service_layer.callers import Scope


def add_key(file: Path, name: str, scopes: Iterable[Scope]) -> str:
    """A new key, whose entry is in the file."""
    key = new_key()
    append_entry(file, format_entry(name, key, scopes))
    return key
