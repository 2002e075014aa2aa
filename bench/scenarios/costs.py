"""The costs of authentication and tracing: the same load with and without."""

import json
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

from app.adapters.identity.api_keys import append_entry, format_entry, new_key
from bench.collector import running_collector
from bench.plan import Plan
from bench.report import Row
from bench.scenarios.steps import CONNECTIONS, MANY, empty_outbox, run_bus, run_load
from bench.stack import Stack, running_server

CALLERS = 100
"""The number of callers that take turns, each with its own credentials."""

ISSUER = "https://bench.test/"


@dataclass(frozen=True)
class Way:
    """A configuration of the service, and the credentials that callers use in turn."""

    name: str
    settings: Mapping[str, str] = field(default_factory=dict)
    credentials: Sequence[str] = ()


def identity(stack: Stack, plan: Plan) -> list[Row]:
    """Authentication with tokens or API keys, over `none`."""
    with tempfile.TemporaryDirectory(prefix="allocation-bench-keys-") as folder, _provider() as (url, tokens):
        file = Path(folder) / "api-keys.toml"
        keys = [new_key() for _ in range(CALLERS)]
        for number, key in enumerate(keys):
            append_entry(file, format_entry(f"caller-{number}", key, ["orders:write", "read"]))
        provider = {
            "ALLOCATION_JWT_ISSUER": ISSUER,
            "ALLOCATION_JWT_AUDIENCE": "allocation",
            "ALLOCATION_JWT_JWKS_URL": url,
        }
        ways = [
            Way("jwt", {"ALLOCATION_AUTH": "jwt", **provider}, tokens),
            Way("api-keys", {"ALLOCATION_AUTH": "api-keys", "ALLOCATION_API_KEYS_FILE": str(file)}, keys),
        ]
        return _compare(stack, plan, Way("none"), ways)


def telemetry(stack: Stack, plan: Plan) -> list[Row]:
    """Tracing with the default ratio, over no tracing. Metrics and logs are on in both."""
    with running_collector() as endpoint:
        return _compare(stack, plan, Way("untraced"), [Way("traced", {"ALLOCATION_OTLP_ENDPOINT": endpoint})])


def _compare(stack: Stack, plan: Plan, plain: Way, others: Sequence[Way]) -> list[Row]:
    """POST and GET with each configuration, over the plain one."""
    rows = {
        (way.name, what): Row(f"{what} /v1/allocations, {way.name}", f"over {plain.name}", [], at_least=0.9)
        for what in ("POST", "GET")
        for way in others
    }
    ways = deque((plain, *others))
    # The differences are small, so there are twice as many rounds of half the time, and compared runs alternate. Two
    # identical processes differ by some percent, so each round starts new ones.
    for number in range(2 * plan.rounds):
        plan.say(f"{', '.join(way.name for way in others)} against {plain.name}, round {number + 1}")
        with ExitStack() as servers:
            ports = [
                servers.enter_context(running_server(stack, "app", "serve", settings=way.settings)) for way in ways
            ]
            started = list(zip(ways, ports, strict=True))
            posted = {way.name: _post(stack, plan, way, port, number) for way, port in started}
            rates = {(name, "POST"): rate for name, (rate, _) in posted.items()}
            for way, port in started:
                rates[way.name, "GET"] = _get(stack, plan, way, port, number, posted[way.name][1])
        empty_outbox(stack)
        # Rotate, so that no configuration is always the last, with the most rows in the database.
        ways.rotate(1)
        for (name, what), row in rows.items():
            row.ratios.append(rates[name, what] / rates[plain.name, what])
            row.figures = {f"{what}/s": rates[name, what], f"{plain.name}/s": rates[plain.name, what]}
    return list(rows.values())


def _post(stack: Stack, plan: Plan, way: Way, port: int, number: int) -> tuple[float, int]:
    """Requests per second, and the number of orders."""
    prefix = f"{way.name}-{number}-"
    run_bus(stack, do="create_batches", sku_prefix=prefix, skus=MANY)
    post = {"order_prefix": f"o{prefix}", "sku_prefix": prefix, "skus": MANY, "credentials": way.credentials}
    posted = run_load(stack, port, run=_closed(plan), post=post)
    plan.check(f"POST, {way.name}", ["201"], list(posted["statuses"]))
    return posted["rate"], sum(posted["statuses"].values())


def _get(stack: Stack, plan: Plan, way: Way, port: int, number: int, orders: int) -> float:
    """Requests per second for these orders, in turn."""
    get = {"order_prefix": f"o{way.name}-{number}-", "orders": orders, "credentials": way.credentials}
    got = run_load(stack, port, run=_closed(plan), get=get)
    plan.check(f"GET, {way.name}", ["200"], list(got["statuses"]))
    return float(got["rate"])


def _closed(plan: Plan) -> dict[str, float]:
    return {"connections": CONNECTIONS, "seconds": plan.seconds / 2}


@contextmanager
def _provider() -> Iterator[tuple[str, list[str]]]:
    """An identity provider: the URL of its keys, and tokens for all callers."""
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
            """Return the key."""
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the base class's name
            """Log nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/", tokens
        finally:
            server.shutdown()
            thread.join()
