"""Authentication by API keys, whose hashes are in a file.

```toml
[[keys]]
name = "shop"
sha256 = "5e88…"
scopes = ["orders:write", "read"]
```

A key is 256 random bits. SHA-256 is the right hash for it: the key cannot be guessed, so a slow hash would add no
security and would cost time in each request.
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

from app.service_layer.callers import MAX_PRINCIPAL_LENGTH, Caller, InvalidCredentialsError, Scope, is_principal

log = logging.getLogger(__name__)

PREFIX = "alc_"
KEY_BYTES = 32
CHECK_INTERVAL = 1.0

NEVER = "never"


class ApiKeyFileError(Exception):
    """The file cannot be read or is not valid. The message contains its path and no key."""


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
    """Implements `Authenticator`. The file is read again after a change; an invalid file leaves the keys unchanged."""

    takes_key_header = True

    def __init__(self, path: Path, *, check_interval: float = CHECK_INTERVAL) -> None:
        """The file is read at the first use, and checked for changes at most every `check_interval` seconds."""
        self._path = path
        self._check_interval = check_interval
        self._keys: list[_Key] = []
        self._checked: dict[str, Caller] = {}
        # The states of the file when it was last read and when it was last rejected. A rejected file is read again at
        # each check, even if it is unchanged: the fault may be outside the file, and a removed key must not stay valid.
        self._read_state: object = NEVER
        self._rejected_state: object = NEVER
        self._next_check = float("-inf")

    def recall(self, credentials: str) -> Caller | None:
        """The caller, if the key was checked since the file was read."""
        self._reload_if_changed()
        return self._checked.get(credentials)

    async def check(self, credentials: str) -> Caller:
        """The caller of the key. Raises InvalidCredentialsError."""
        self._reload_if_changed()
        digest = hashlib.sha256(credentials.encode()).digest()
        found = None
        # Every key is compared, so that the time does not depend on the key or its place.
        for key in self._keys:
            if hmac.compare_digest(key.digest, digest):
                found = key.caller
        if found is None:
            raise InvalidCredentialsError("the API key is unknown")
        # Bounded by the number of keys in the file.
        self._checked[credentials] = found
        return found

    def _reload_if_changed(self) -> None:
        now = time.monotonic()
        if now < self._next_check:
            return
        self._next_check = now + self._check_interval
        state = _state_of(self._path)
        if state != self._read_state:
            try:
                self._keys, self._checked = read_keys(self._path), {}
            except ApiKeyFileError as error:
                if state != self._rejected_state:
                    log.error("the API keys stay unchanged: %s", error)  # noqa: TRY400 - the traceback would not help
                self._rejected_state = state
                return
            self._read_state = state
            log.info("%d API keys were read from %s", len(self._keys), self._path)
        self._rejected_state = NEVER


def _state_of(path: Path) -> tuple[int, int, int, int] | None:
    """What changes when the file is written or replaced: its times, its size and its inode."""
    try:
        status = path.stat()
    except OSError:
        return None
    # Programs can set mtime, but not ctime.
    return status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino


def new_key() -> str:
    """A new random key."""
    return PREFIX + secrets.token_urlsafe(KEY_BYTES)


def format_entry(name: str, key: str, scopes: Iterable[Scope]) -> str:
    """The entry of the key in the file. Raises ValueError for an invalid name."""
    if not is_principal(name):
        raise ValueError(f"a name has 1 to {MAX_PRINCIPAL_LENGTH} printable characters")
    # A TOML string needs the same escapes as a JSON string of printable characters.
    named = "".join(f"\\{character}" if character in '"\\' else character for character in name)
    listed = ", ".join(f'"{scope}"' for scope in sorted(set(scopes)))
    return f'[[keys]]\nname = "{named}"\nsha256 = "{hashlib.sha256(key.encode()).hexdigest()}"\nscopes = [{listed}]\n'


def append_entry(path: Path, entry: str) -> None:
    """Append the entry to the file. A new file has mode 0600. Raises ApiKeyFileError."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        with os.fdopen(descriptor, "a", encoding="utf-8") as file:
            file.write(entry if os.fstat(descriptor).st_size == 0 else f"\n{entry}")
    except OSError as error:
        raise ApiKeyFileError(f"{path}: {error.strerror or error}") from None
