"""API keys for tests of the identity of callers."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from app.adapters.identity.api_keys import append_entry, format_entry, new_key
from app.bootstrap import bootstrap
from app.service_layer.callers import Scope
from app.settings import Settings
from tests.support.api import Api, in_process


def add_key(file: Path, name: str, scopes: Iterable[Scope]) -> str:
    """A new key, whose entry is in the file."""
    key = new_key()
    append_entry(file, format_entry(name, key, scopes))
    return key


@asynccontextmanager
async def guarded(settings: Settings, key_file: Path, **more: Any) -> AsyncIterator[Api]:
    """The application, which takes the keys of the file."""
    settings = settings.model_copy(update={"auth": "api-keys", "api_keys_file": key_file})
    async with bootstrap(settings, **more) as service, in_process(service) as api:
        yield api
