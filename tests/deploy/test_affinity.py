"""deploy/affinity: nginx sends the requests of a cell to the same process. Runs nginx in front of small servers."""

import re
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import httpx
import pytest

from app.entrypoints.http.headers import ROUTING_KEY
from app.service_layer.cells import CellMap
from tests.support import nginx
from tests.support.downloads import DownloadError

EXAMPLE = Path(__file__).resolve().parents[2] / "deploy/affinity"
TEXT = (EXAMPLE / "allocation.conf").read_text(encoding="utf-8")
NAMES = ["api-0.example.com:8000", "api-1.example.com:8000"]
CELLS = 4
SKUS = [f"SKU-{'x' * (number % 5)}{number}" for number in range(60)]


@pytest.fixture(scope="module", autouse=True)
def packages(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Skips all tests where nginx cannot be had."""
    try:
        nginx.prepare(tmp_path_factory.mktemp("nginx"), EXAMPLE, {})
    except DownloadError as error:
        pytest.skip(f"there is no nginx: {error}")


@contextmanager
def small_server(name: str) -> Iterator[tuple[str, ThreadingHTTPServer]]:
    """A server that answers each request with its name, and its address. The body of the `with` may close it."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(name.encode())

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_port}", server
        finally:
            server.shutdown()
            thread.join()


class Proxy:
    """nginx in front of two servers, which are named by their place in NAMES."""

    def __init__(self, client: httpx.Client, servers: list[ThreadingHTTPServer]) -> None:
        self.client, self.servers = client, servers

    def send(self, *keys: str) -> str:
        """The name of the server that a request with the header reached."""
        headers = [(ROUTING_KEY["name"], key) for key in keys]
        response = self.client.post("/", json={}, headers=headers)
        assert response.status_code == 200, response.text
        return response.text


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[Proxy]:
    with ExitStack() as stack:
        started = [stack.enter_context(small_server(name)) for name in NAMES]
        addresses = {name: address for name, (address, _) in zip(NAMES, started, strict=True)}
        url = stack.enter_context(nginx.running(tmp_path, EXAMPLE, addresses))
        client = stack.enter_context(httpx.Client(base_url=url, timeout=20, trust_env=False))
        yield Proxy(client, [server for _, server in started])


def test_nginx_finds_no_fault_in_the_example(tmp_path: Path) -> None:
    addresses = dict.fromkeys(NAMES, "127.0.0.1:8000")
    command = nginx.prepare(tmp_path, EXAMPLE, {**addresses, "listen 80;": "listen 127.0.0.1:8080;"})
    assert nginx.check(command) == ""


def test_every_cell_has_a_process_and_a_replacement() -> None:
    assert re.findall(r"js_var \$allocation_cells (\d+);", TEXT) == [str(CELLS)]
    table = dict(re.findall(r"^    (\d+|default) (\w+);$", TEXT, re.MULTILINE))
    assert set(table) == {"default", *map(str, range(CELLS))}
    for upstream in table.values():
        (block,) = re.findall(rf"^upstream {upstream} {{\n(.*?)^}}", TEXT, re.MULTILINE | re.DOTALL)
        servers = re.findall(r"^    server (\S+?)( .*)?;$", block, re.MULTILINE)
        assert sorted(name for name, _ in servers) == NAMES
        assert len([name for name, options in servers if "backup" in options]) == (upstream != "api")


def test_requests_of_a_cell_reach_one_process(proxy: Proxy) -> None:
    reached = defaultdict(set)
    for sku in [*SKUS, *SKUS[:5]]:
        reached[CellMap(CELLS).of(sku)].add(proxy.send(sku))
    assert reached == {0: {NAMES[0]}, 1: {NAMES[1]}, 2: {NAMES[0]}, 3: {NAMES[1]}}


def test_requests_without_the_header_reach_all_processes(proxy: Proxy) -> None:
    assert {proxy.send() for _ in range(20)} == set(NAMES)
    assert {proxy.send("") for _ in range(20)} == set(NAMES)


def test_any_value_of_the_header_is_served(proxy: Proxy) -> None:
    for keys in (["x" * 3000], ["RED-CHAIR", "BLUE-CHAIR"], ["default"], ["any text"]):
        assert proxy.send(*keys) == proxy.send(*keys)


def test_the_cells_of_a_process_that_is_down_move(proxy: Proxy) -> None:
    before = {sku: proxy.send(sku) for sku in SKUS}
    proxy.servers[0].shutdown()
    proxy.servers[0].server_close()
    assert set(before.values()) == set(NAMES)
    assert {proxy.send(sku) for sku in SKUS} == {NAMES[1]}
    assert {proxy.send() for _ in range(5)} == {NAMES[1]}
