"""Authentication: the check of its settings before the service listens, and the commands for API keys."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Sequence

    from app.service_layer.callers import Scope
    from app.settings import Settings

# The scopes of app.service_layer.callers, which --help does not import. A test compares the two.
SCOPES = ("orders:write", "stock:write", "read", "admin")


def require_identity(settings: Settings, host: str) -> None:
    """Check that authentication is configured for listening on `host`. Raises click.UsageError, ApiKeyFileError."""
    if settings.auth is None:
        raise click.UsageError(
            "set ALLOCATION_AUTH, which chooses the authentication, to jwt, api-keys or none (see docs/security.md)"
        )
    if settings.auth == "none" and not settings.auth_none_on_any_address and not _is_loopback(host):
        raise click.UsageError(
            f"ALLOCATION_AUTH=none gives every caller on {host} full access: set it to jwt or api-keys,"
            " listen on 127.0.0.1, or set ALLOCATION_AUTH_NONE_ON_ANY_ADDRESS=true and ALLOCATION_HTTP_ALLOWED_HOSTS"
        )
    if settings.auth == "api-keys" and settings.api_keys_file is not None:
        from app.adapters.identity.api_keys import read_keys

        read_keys(settings.api_keys_file)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@click.group(name="api-keys")
def api_keys() -> None:
    """Manage API keys, for ALLOCATION_AUTH=api-keys."""


@api_keys.command(name="new")
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    required=True,
    type=click.Choice(SCOPES),
    help="A scope of the caller; repeatable.",
)
@click.option("--file", type=click.Path(path_type=Path, dir_okay=False), help="Add the entry to this file.")
@click.option("--once", is_flag=True, help="With --file: do nothing if the file has a key of that name.")
def new_api_key(name: str, scopes: Sequence[Scope], file: Path | None, *, once: bool) -> None:
    """Create a key for the caller NAME.

    The key is printed once, on standard error, and is not stored. Its entry, which contains only a hash, is printed on
    standard output or appended to FILE, which a running service reads again within a second.
    """
    from app.adapters.identity.api_keys import append_entry, format_entry, new_key, read_keys

    if file is not None and file.exists() and name in {key.caller.principal for key in read_keys(file)}:
        if once:
            return
        raise click.UsageError(f"{file} already has a key of the name {name}")
    key = new_key()
    try:
        entry = format_entry(name, key, scopes)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    if file is not None:
        file.touch(mode=0o600)
    # Before the entry is written: a key without an entry is useless, but an entry whose key was not shown would remain.
    click.echo(key, err=True)
    if file is None:
        click.echo(entry, nl=False)
    else:
        append_entry(file, entry)
