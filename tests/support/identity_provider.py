"""An identity provider: signs tokens, and publishes its keys over HTTP on a free port."""

import base64
import contextlib
import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from app.adapters.identity.json_web_tokens import JwtAuthenticator
from app.adapters.identity.jwks_client import FETCH_DEADLINE, JwksClient
from app.service_layer.callers import InvalidCredentialsError

ISSUER = "https://login.test/"
AUDIENCE = "allocation"
ALGORITHMS = ["RS256", "ES256", "EdDSA"]
CLAIMS = {"iss": ISSUER, "aud": AUDIENCE, "sub": "mallory", "exp": 2**31, "scope": "admin"}

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


def _new_private_key(algorithm: str) -> PrivateKey:
    match algorithm:
        case "RS256" | "RS512" | "PS256":
            return rsa.generate_private_key(public_exponent=65537, key_size=2048)
        case "ES256":
            return ec.generate_private_key(ec.SECP256R1())
        case "ES384":
            return ec.generate_private_key(ec.SECP384R1())
        case "EdDSA":
            return ed25519.Ed25519PrivateKey.generate()
        case _:
            raise ValueError(algorithm)


class IdentityProvider:
    """Its keys by their ids.

    `published` is what it answers with once it `may_answer`, as JSON where it is not bytes; `requests` counts how often
    it was asked, `answers` how often it had its say. While it `drips`, the head or the body of an answer never ends.
    """

    def __init__(self) -> None:
        self.private_keys: dict[str, tuple[PrivateKey, str]] = {}
        self.published: Any = {"keys": []}
        self.status = 200
        self.requests = 0
        self.answers = 0
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.drips: Literal["head", "body"] | None = None
        self.is_stopped = threading.Event()
        self.url = ""

    def add_key(self, kid: str, algorithm: str = "ES256", **more: object) -> None:
        """Make a key and publish it; `more` are further members of it, and one that is None is left out."""
        private_key = _new_private_key(algorithm)
        self.private_keys[kid] = private_key, algorithm
        public = jwt.get_algorithm_by_name(algorithm).to_jwk(private_key.public_key(), as_dict=True)
        members = public | {"kid": kid, "alg": algorithm, "use": "sig"} | more
        self.published["keys"].append({name: value for name, value in members.items() if value is not None})

    def withdraw_key(self, kid: str) -> None:
        """Publish it no longer."""
        self.published["keys"] = [key for key in self.published["keys"] if key["kid"] != kid]

    def token(
        self, kid: str = "first", *, scope: object = "read", headers: dict[str, Any] | None = None, **claims: object
    ) -> str:
        """A token that is good for a minute; a claim that is None is left out."""
        private_key, algorithm = self.private_keys[kid]
        given = {"iss": ISSUER, "aud": AUDIENCE, "sub": "anna", "exp": time.time() + 60, "scope": scope, **claims}
        content = {name: value for name, value in given.items() if value is not None}
        return jwt.encode(content, private_key, algorithm, headers={"kid": kid, **(headers or {})})


class _Handler(BaseHTTPRequestHandler):
    provider: IdentityProvider

    def do_GET(self) -> None:
        self.provider.requests += 1
        self.provider.may_answer.wait(60)
        self.provider.answers += 1
        # The client may have disconnected.
        with contextlib.suppress(OSError):
            self._answer()

    def _answer(self) -> None:
        published = self.provider.published
        body = published if isinstance(published, bytes) else json.dumps(published).encode()
        self.send_response(self.provider.status)
        if self.provider.drips != "head":
            self.send_header("content-length", str(10**6 if self.provider.drips else len(body)))
            self.end_headers()
        else:
            self.flush_headers()
        while self.provider.drips and not self.provider.is_stopped.wait(0.01):
            self.wfile.write(b" ")
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def running_identity_provider(tls: ssl.SSLContext | None = None) -> Iterator[IdentityProvider]:
    """A provider with one key, `first`, that answers while the block runs; on `localhost` where it speaks TLS."""
    provider = IdentityProvider()
    provider.add_key("first")
    handler = type("Handler", (_Handler,), {"provider": provider})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        port = server.server_address[1]
        provider.url = f"http://127.0.0.1:{port}/jwks.json"
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
            provider.url = f"https://localhost:{port}/jwks.json"
        # It looks so often whether it is to stop.
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield provider
        finally:
            provider.is_stopped.set()
            provider.may_answer.set()
            server.shutdown()
            thread.join()


def tokens_of(
    provider: IdentityProvider,
    *,
    algorithms: Sequence[str] = ALGORITHMS,
    max_age: float = 300,
    min_interval: float = 0,
    deadline: float = FETCH_DEADLINE,
    clock: Callable[[], float] = time.monotonic,
    **more: Any,
) -> JwtAuthenticator:
    """What knows callers by the provider's tokens; `more` is for `JwtAuthenticator`."""
    keys = JwksClient(
        provider.url, algorithms, max_age=max_age, min_interval=min_interval, deadline=deadline, clock=clock
    )
    return JwtAuthenticator(keys, issuer=ISSUER, audience=AUDIENCE, algorithms=algorithms, clock=clock, **more)


async def refusal(tokens: JwtAuthenticator, token: str) -> str:
    """Why the token is refused."""
    assert tokens.recall(token) is None
    with pytest.raises(InvalidCredentialsError) as refused:
        await tokens.check(token)
    assert tokens.recall(token) is None
    return str(refused.value)


def unsigned(header: dict[str, Any], claims: dict[str, Any]) -> str:
    """A token without a signature."""
    parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in (header, claims)]
    return ".".join([*parts, ""])
