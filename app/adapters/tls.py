"""TLS for connections to other servers. Certificate and host name are always verified."""

import ssl
from collections.abc import Iterable
from ipaddress import ip_address
from pathlib import Path


class TlsFilesError(Exception):
    """A certificate or key cannot be used. The message contains the paths and nothing of the content."""


def client_context(
    hosts: Iterable[str],
    choice: str | None,
    *,
    ca_file: Path | None = None,
    cert_file: Path | None = None,
    key_file: Path | None = None,
) -> ssl.SSLContext | None:
    """The TLS context for connections to the hosts; None means without encryption.

    `choice` is "verify", "off", or None: then TLS is off only if all hosts are loopback addresses. `ca_file` has the
    certificate authorities that replace those of the system. `cert_file` and `key_file` are the client certificate.
    Raises TlsFilesError.
    """
    if (choice or ("off" if all(map(is_loopback, hosts)) else "verify")) == "off":
        return None
    try:
        context = ssl.create_default_context(cafile=ca_file)
        if cert_file is not None:
            # Without a password here OpenSSL would ask for one at the terminal.
            context.load_cert_chain(cert_file, key_file, password="")
    except (OSError, ValueError) as error:
        files = ", ".join(str(file) for file in (ca_file, cert_file, key_file) if file is not None)
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or type(error).__name__
        raise TlsFilesError(f"unusable certificate or key: {files} ({reason})") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def is_loopback(host: str) -> bool:
    """Whether the host is a loopback address or localhost."""
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"
