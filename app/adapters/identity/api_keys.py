"""Callers known by keys of their own, which stand hashed in a file.

```toml
[[keys]]
name = "shop"
sha256 = "5e88…"
scopes = ["orders:write", "read"]
```

A key is 256 random bits, so SHA-256 is the right hash for it: there is nothing to guess that a slow hash would make
dearer, and one that is paid for by each request has to be cheap.
"""

import hashlib
import hmac
import logging
import os
import secrets
import time
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import PydanticCustomError

from app.service_layer.identity import MAX_PRINCIPAL_LENGTH, Caller, InvalidCredentialsError, Scope, is_principal

log = logging.getLogger(__name__)

PREFIX = "alc_"
KEY_BYTES = 32
CHECK_INTERVAL = 1.0

NEVER = "never"


class ApiKeyFileError(Exception):
    """The file cannot be read or is not as it should be. The text names it, and no key."""


def _printable(name: str) -> str:
    if not is_principal(name):
        raise PydanticCustomError(
            "name_form", "should be 1 to {most} printable characters", {"most": MAX_PRINCIPAL_LENGTH}
        )
    return name


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, AfterValidator(_printable)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    scopes: frozenset[Scope]


class _Content(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    keys: list[_Entry] = []


@dataclass(frozen=True, slots=True)
class _Key:
    digest: bytes
    caller: Caller


def read_keys(path: Path) -> list[_Key]:
    """The keys in the file. Raises ApiKeyFileError."""
    try:
        content = _Content.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise ApiKeyFileError(f"{path}: {error.strerror or error}") from None
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        raise ApiKeyFileError(f"{path}: {'.'.join(map(str, fault['loc']))}: {fault['msg']}") from None
    except ValueError as error:
        raise ApiKeyFileError(f"{path} is not TOML: {error}") from None
    for name in ("name", "sha256"):
        values = [getattr(entry, name) for entry in content.keys]
        if len(set(values)) < len(values):
            raise ApiKeyFileError(f"{path}: two keys have the same {name}")
    return [_Key(bytes.fromhex(entry.sha256), Caller(entry.name, entry.scopes)) for entry in content.keys]


class ApiKeys:
    """Implements `Authenticator`. A file that has changed is read again; a broken one leaves the keys as they were."""

    takes_key_header = True

    def __init__(self, path: Path, *, check_interval: float = CHECK_INTERVAL) -> None:
        """The file is read when it is first needed, and looked at again every `check_interval` seconds at most."""
        self._path = path
        self._check_interval = check_interval
        self._keys: list[_Key] = []
        self._shown: dict[str, Caller] = {}
        # How the file was when it was read, and how it is while it cannot be. Then it is tried again each time: the
        # fault may be none of the file's, and whose key is withdrawn must not stay in because of it.
        self._read: object = NEVER
        self._refused: object = NEVER
        self._next_check = float("-inf")

    def recall(self, credentials: str) -> Caller | None:
        """The caller, where the key has been shown since the file was read."""
        self._read_again_where_changed()
        return self._shown.get(credentials)

    async def check(self, credentials: str) -> Caller:
        """The caller whose key it is. Raises InvalidCredentialsError."""
        self._read_again_where_changed()
        digest = hashlib.sha256(credentials.encode()).digest()
        found = None
        # To the end in any case, so that the time tells nothing of the place or the likeness of a key.
        for key in self._keys:
            if hmac.compare_digest(key.digest, digest):
                found = key.caller
        if found is None:
            raise InvalidCredentialsError("the API key is not known")
        # No more than there are keys in the file.
        self._shown[credentials] = found
        return found

    def _read_again_where_changed(self) -> None:
        now = time.monotonic()
        if now < self._next_check:
            return
        self._next_check = now + self._check_interval
        state = _state_of(self._path)
        if state != self._read:
            try:
                self._keys, self._shown = read_keys(self._path), {}
            except ApiKeyFileError as error:
                if state != self._refused:
                    log.error("the API keys stay as they were: %s", error)  # noqa: TRY400 - the file is at fault, not we
                self._refused = state
                return
            self._read = state
            log.info("%d API keys were read from %s", len(self._keys), self._path)
        self._refused = NEVER


def _state_of(path: Path) -> tuple[int, int, int, int] | None:
    """What changes with the file: its times, its size, and the file itself where another takes its place."""
    try:
        status = path.stat()
    except OSError:
        return None
    # Nobody can set the time of the last change, as they can that of the last writing.
    return status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino


def new_key() -> str:
    """A key that nobody has."""
    return PREFIX + secrets.token_urlsafe(KEY_BYTES)


def format_entry(name: str, key: str, scopes: Iterable[Scope]) -> str:
    """What the file has to say of the key. Raises ValueError where nobody can be called that."""
    if not is_principal(name):
        raise ValueError(f"a name has 1 to {MAX_PRINCIPAL_LENGTH} printable characters")
    # What is a JSON string of printable characters is a TOML string too.
    named = "".join(f"\\{character}" if character in '"\\' else character for character in name)
    listed = ", ".join(f'"{scope}"' for scope in sorted(set(scopes)))
    return f'[[keys]]\nname = "{named}"\nsha256 = "{hashlib.sha256(key.encode()).hexdigest()}"\nscopes = [{listed}]\n'


def append_entry(path: Path, entry: str) -> None:
    """Add the entry at the end of the file; a new one may be read by its owner alone. Raises ApiKeyFileError."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        with os.fdopen(descriptor, "a", encoding="utf-8") as file:
            file.write(entry if file.tell() == 0 else f"\n{entry}")
    except OSError as error:
        raise ApiKeyFileError(f"{path}: {error.strerror or error}") from None
