"""TLS towards the servers that the service speaks to. Where it is spoken, certificate and name are checked: always."""

import ssl
from collections.abc import Iterable
from ipaddress import ip_address
from pathlib import Path


class TlsFilesError(Exception):
    """A certificate or key cannot be used. The text names the files, and nothing that is in them."""


def client_context(
    hosts: Iterable[str],
    choice: str | None,
    *,
    ca_file: Path | None = None,
    cert_file: Path | None = None,
    key_file: Path | None = None,
) -> ssl.SSLContext | None:
    """How to speak to the hosts; None means in the clear.

    `choice` is "verify", "off", or None: then TLS is left out only where no byte leaves this machine. `ca_file` names
    who may vouch for the server, in place of the authorities of the system; `cert_file` and `key_file` are what the
    service itself is known by. Raises TlsFilesError.
    """
    if (choice or ("off" if all(map(is_loopback, hosts)) else "verify")) == "off":
        return None
    try:
        context = ssl.create_default_context(cafile=ca_file)
        if cert_file is not None:
            # Without an answer here OpenSSL would ask the terminal, and a service has none.
            context.load_cert_chain(cert_file, key_file, password="")
    except (OSError, ValueError) as error:
        files = ", ".join(str(file) for file in (ca_file, cert_file, key_file) if file is not None)
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or type(error).__name__
        raise TlsFilesError(f"no certificate or no key that can be used: {files} ({reason})") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def is_loopback(host: str) -> bool:
    """Whether the name is one of the loopback's."""
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"
