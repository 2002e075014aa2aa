"""An authority of the test's own, servers' certificates from it, and a PostgreSQL that insists on TLS."""

import asyncio
import contextlib
import ssl
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import trustme
from cryptography.hazmat.primitives import serialization

# Source: https://www.postgresql.org/docs/18/protocol-message-formats.html, SSLRequest
SSL_REQUEST = struct.pack("!ii", 8, 80877103)


@dataclass(frozen=True)
class Identity:
    """What a server is known by: the certificate, the key, and both in one file, for those who want it so."""

    cert_file: Path
    key_file: Path
    both_file: Path

    def server_context(self) -> ssl.SSLContext:
        """For a server in Python."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.cert_file, self.key_file)
        return context


class Authority:
    """Vouches for servers; `ca_file` is what a client needs to believe it."""

    def __init__(self, directory: Path) -> None:
        """Make one whose files lie in the directory."""
        self._directory = directory
        self._ca = trustme.CA()
        self.ca_file = directory / "ca.pem"
        self._ca.cert_pem.write_to_path(str(self.ca_file))

    def identity(self, *names: str) -> Identity:
        """A certificate for these names and addresses."""
        issued = self._ca.issue_cert(*names)
        stem = self._directory / "-".join(names)
        identity = Identity(stem.with_suffix(".crt"), stem.with_suffix(".key"), stem.with_suffix(".pem"))
        chain = b"".join(blob.bytes() for blob in issued.cert_chain_pems)
        key = serialization.load_pem_private_key(issued.private_key_pem.bytes(), None).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        identity.cert_file.write_bytes(chain)
        identity.key_file.write_bytes(key)
        identity.both_file.write_bytes(key + chain)
        return identity


@dataclass
class TlsServer:
    """Where it listens, and how many have come: with TLS, and without, whom it hung up on."""

    port: int = 0
    encrypted: int = 0
    refused: int = 0


@asynccontextmanager
async def postgresql_behind_tls(port: int, context: ssl.SSLContext) -> AsyncIterator[TlsServer]:
    """TLS in front of a PostgreSQL on this machine: the one from the wheel is built without."""
    state = TlsServer()

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while chunk := await reader.read(65536):
                writer.write(chunk)
                await writer.drain()
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if await reader.readexactly(len(SSL_REQUEST)) != SSL_REQUEST:
                state.refused += 1
                return
            writer.write(b"S")
            await writer.start_tls(context)
            state.encrypted += 1
            there, back = await asyncio.open_connection("127.0.0.1", port)
            await asyncio.gather(forward(reader, back), forward(there, writer))
        except (OSError, asyncio.IncompleteReadError):
            return
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    state.port = server.sockets[0].getsockname()[1]
    try:
        yield state
    finally:
        server.close()
