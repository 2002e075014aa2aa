"""What it costs to know who calls: the same load with tokens, with API keys, and with neither."""

import json
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

from app.adapters.api_keys import append_entry, entry_of, new_key
from bench.report import Row
from bench.scenarios import CONNECTIONS, MANY, Plan, empty_outbox
from bench.stack import Stack, run_json, running_server

CALLERS = 100
"""So many take turns, each with credentials of its own."""

ISSUER = "https://bench.test/"


def identity(stack: Stack, plan: Plan) -> list[Row]:
    """POST and GET with credentials, over the same without."""
    rows = {
        (way, what): Row(f"{what} /v1/allocations, {way}, {CALLERS} callers", "over AUTH=none", [], at_least=0.9)
        for what in ("POST", "GET")
        for way in ("jwt", "api-keys")
    }
    closed = {"connections": CONNECTIONS, "seconds": plan.seconds}
    with ExitStack() as resources:
        ways = resources.enter_context(_ways())
        ports = {
            way: resources.enter_context(running_server(stack, "app", "serve", settings=settings))
            for way, (settings, _) in ways.items()
        }
        for number in range(plan.rounds):
            rates: dict[tuple[str, str], float] = {}
            for way, port in ports.items():
                plan.say(f"identity, {way}, round {number + 1}")
                prefix, credentials = f"{way}-{number}-", ways[way][1]
                create = {"do": "create", "sku_prefix": prefix, "skus": MANY}
                run_json(stack, "bench.bus", json.dumps(create))
                post = {"order_prefix": f"o{prefix}", "sku_prefix": prefix, "skus": MANY, "credentials": credentials}
                posted = run_json(stack, "bench.load", json.dumps({"port": port, "run": closed, "post": post}))
                plan.check(f"identity, {way}", ["201"], list(posted["statuses"]))
                orders = min(10_000, sum(posted["statuses"].values()))
                get = {"order_prefix": f"o{prefix}", "orders": orders, "credentials": credentials}
                got = run_json(stack, "bench.load", json.dumps({"port": port, "run": closed, "get": get}))
                plan.check(f"identity, {way}", ["200"], list(got["statuses"]))
                rates[way, "POST"], rates[way, "GET"] = posted["rate"], got["rate"]
                empty_outbox(stack)
            for (way, what), row in rows.items():
                row.ratios.append(rates[way, what] / rates["none", what])
                row.figures = {f"{what}/s": rates[way, what], "none/s": rates["none", what]}
    return list(rows.values())


@contextmanager
def _ways() -> Iterator[Mapping[str, tuple[dict[str, str], list[str]]]]:
    """The settings of each way to know callers, and what the callers then show."""
    with tempfile.TemporaryDirectory(prefix="allocation-bench-keys-") as folder, _provider() as (url, tokens):
        file = Path(folder) / "api-keys.toml"
        keys = [new_key() for _ in range(CALLERS)]
        for number, key in enumerate(keys):
            append_entry(file, entry_of(f"caller-{number}", key, ["orders:write", "read"]))
        provider = {
            "ALLOCATION_JWT_ISSUER": ISSUER,
            "ALLOCATION_JWT_AUDIENCE": "allocation",
            "ALLOCATION_JWT_JWKS_URL": url,
        }
        yield {
            "none": ({"ALLOCATION_AUTH": "none"}, []),
            "jwt": ({"ALLOCATION_AUTH": "jwt", **provider}, tokens),
            "api-keys": ({"ALLOCATION_AUTH": "api-keys", "ALLOCATION_API_KEYS_FILE": str(file)}, keys),
        }


@contextmanager
def _provider() -> Iterator[tuple[str, list[str]]]:
    """An identity provider: where its key is, and tokens for all callers."""
    private_key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public = jwt.get_algorithm_by_name("RS256").to_jwk(private_key.public_key(), as_dict=True)
    body = json.dumps({"keys": [public | {"kid": "bench", "alg": "RS256"}]}).encode()
    claims = {"iss": ISSUER, "aud": "allocation", "exp": time.time() + 86_400, "scope": "orders:write read"}
    tokens = [
        jwt.encode(claims | {"sub": f"caller-{number}"}, private_key, "RS256", headers={"kid": "bench"})
        for number in range(CALLERS)
    ]

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            """Answer with the key."""
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/", tokens
        finally:
            server.shutdown()
            thread.join()
