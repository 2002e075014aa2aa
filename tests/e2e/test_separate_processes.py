"""Each part of the service in a process of its own, as in production; one that is down does not delay the others."""

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest
from aiosmtpd.controller import Controller
from pydantic import SecretStr

from app.embedded.process import free_port, port_is_free
from app.settings import Settings
from tests.support.api import new, over_http
from tests.support.command import STOP_SECONDS, Command, environment, run_command, running
from tests.support.mail import MailBox
from tests.support.waiting import eventually
from tests.support.wire import Wire

pytestmark = pytest.mark.kafka


@contextmanager
def wired(settings: Settings) -> Iterator[Wire]:
    wire = Wire(settings.kafka_bootstrap_servers, settings.kafka_inbound_topics[0], settings.kafka_events_topic)
    try:
        yield wire
    finally:
        wire.close()


async def test_the_parts_work_as_processes_and_a_mail_server_outage_delays_mail_only(
    kafka_settings: Settings, empty_database_url: str, tmp_path: Path
) -> None:
    mail_port, http_port = free_port(), free_port()
    box = MailBox(url=f"smtp://127.0.0.1:{mail_port}")
    settings = kafka_settings.model_copy(update={"database_url": SecretStr(empty_database_url)})
    env = environment(settings, smtp_url=box.url)

    migrated = run_command(["migrate"], env, tmp_path)
    assert migrated.returncode == 0, migrated.stderr
    again = run_command(["migrate"], env, tmp_path)
    assert (again.returncode, again.stdout) == (0, migrated.stdout)

    sku, order = new("sku"), new("order")
    url = f"http://127.0.0.1:{http_port}"
    with ExitStack() as stack:

        def start(*arguments: str) -> Command:
            return stack.enter_context(running(*arguments, env=env, log=tmp_path / f"{arguments[0]}.log"))

        wire = stack.enter_context(wired(settings))
        parts = [start("serve", "--port", str(http_port)), start("consume"), start("relay"), start("notify")]
        parts[0].wait_until_ready(url)
        async with over_http(url) as api:
            ref = new("batch")
            await api.record(sku, 10, ref=ref)
            # The mail server is down. This delays the mail to the buyers and nothing else.
            await api.order(sku, 11, order_id=order)
            assert {event.type for event in await wire.events(sku, 3)} == {
                "batch_created.v1",
                "line_backordered.v1",
                "out_of_stock.v1",
            }
            wire.send("batch_quantity_changed.v1", {"ref": ref, "qty": 12})
            (allocated,) = (await wire.events(sku, 5))[4:]
            assert allocated.story == {"type": "line_allocated.v1", "order_id": order, "qty": 11, "batch_ref": ref}
            assert box.mails == []

            controller = Controller(box, hostname="127.0.0.1", port=mail_port)
            controller.start()
            try:

                async def mail_has_come() -> bool:
                    return box.bodies_to("stock@made.com") == [f"Out of stock for {sku}"]

                await eventually(mail_has_come)
                # No address of a warehouse is set, so only the buyers get mail.
                later = new("sku")
                await api.record(later, 1)
                await api.order(later, 1)
                await api.order(later, 1)

                async def next_mail_has_come() -> bool:
                    return f"Out of stock for {later}" in box.bodies_to("stock@made.com")

                await eventually(next_mail_has_come)
                assert len(box.mails) == 2
            finally:
                controller.stop()
        assert [part.stop() for part in parts] == [0, 0, 0, 0], [part.output for part in parts]


async def test_events_wait_for_the_relay_and_then_come_in_order(kafka_settings: Settings, tmp_path: Path) -> None:
    port = free_port()
    url, env = f"http://127.0.0.1:{port}", environment(kafka_settings.model_copy(update={"relay_lease": 1.5}))
    with wired(kafka_settings) as wire, running("serve", "--port", str(port), env=env, log=tmp_path / "serve") as serve:
        serve.wait_until_ready(url)
        sku = new("sku")
        async with over_http(url) as api:
            ref = await api.record(sku, 10)
            for qty in range(11, 41):
                await api.change(ref, qty=qty)
        # Two relays share the work. Killing one does not change the order of a SKU's events.
        with running("relay", env=env, log=tmp_path / "1") as first, running("relay", env=env, log=tmp_path / "2"):
            assert [event.data["qty"] for event in await wire.events(sku, 31)] == list(range(10, 41))
            first.kill()
            async with over_http(url) as api:
                others = [new("sku") for _ in range(20)]
                for other in others:
                    await api.record(other, 1)
            for other in others:
                await wire.events(other, 1)


async def test_serve_with_several_workers_is_one_service(kafka_settings: Settings, tmp_path: Path) -> None:
    port = free_port()
    url, env = f"http://127.0.0.1:{port}", environment(kafka_settings)
    with running("serve", "--port", str(port), "--workers", "2", env=env, log=tmp_path / "serve.log") as serve:
        serve.wait_until_ready(url)
        sku = new("sku")
        async with over_http(url) as api:
            ref = await api.record(sku, 100)
        for _ in range(10):
            # A new connection for each request, so that both workers serve some.
            async with over_http(url) as api:
                assert (await api.allocate(sku, 10, if_unavailable="reject")).status_code == 201
        async with over_http(url) as api:
            assert (await api.batch(ref))["available_qty"] == 0
        assert serve.stop() == 0


async def test_each_process_of_run_with_workers_shows_its_metrics(kafka_settings: Settings, tmp_path: Path) -> None:
    port, first = free_port(), free_ports(3)
    url, env = f"http://127.0.0.1:{port}", environment(kafka_settings)
    arguments = ("run", "--port", str(port), "--workers", "2", "--metrics-port", str(first))
    with wired(kafka_settings) as wire, running(*arguments, env=env, log=tmp_path / "run.log") as run:
        run.wait_until_ready(url)
        sku = new("sku")
        for _ in range(20):
            # A new connection for each request, so that both workers serve some.
            async with over_http(url) as api:
                await api.record(sku, 1)
        assert len(await wire.events(sku, 20)) == 20

        def totals(name: str) -> list[float]:
            addresses = [f"http://127.0.0.1:{first + number}/metrics" for number in range(3)]
            return [total(httpx.get(address, trust_env=False), name) for address in addresses]

        def are_counted() -> bool:
            return totals("allocation_outbox_published_total") == [20, 0, 0]

        # The relay counts events after the broker has acknowledged them.
        run.wait_for(are_counted)
        background, *workers = totals('allocation_commands_total{command="CreateBatch",outcome="ok"}')
        assert (background, sum(workers)) == (0, 20), "the workers together have handled all requests"
        assert run.stop() == 0


def test_ports_of_metrics_that_are_taken_are_refused_before_anything_starts(tmp_path: Path) -> None:
    first = free_ports(2)
    with socket.create_server(("0.0.0.0", first + 1)):
        env = environment(auth="none")
        arguments = ("serve", "--port", "0", "--workers", "2", "--metrics-port", str(first))
        with running(*arguments, env=env, log=tmp_path / "serve.log") as serve:
            assert serve.process.wait(STOP_SECONDS) == 2
            assert f"cannot listen on 0.0.0.0:{first + 1}" in serve.output


def free_ports(number: int) -> int:
    """The first of several free ports in a row."""
    while True:
        first = free_port()
        if first + number < 65_535 and all(port_is_free(port) for port in range(first, first + number)):
            return first


def total(scrape: httpx.Response, name: str) -> float:
    """The value of a series; 0 if the process does not have it."""
    lines = (line.rpartition(" ") for line in scrape.text.splitlines())
    return next((float(value) for series, _, value in lines if series == name), 0.0)


def test_a_stopping_server_is_not_ready_and_still_serves(database_url: str, tmp_path: Path) -> None:
    port = free_port()
    env = environment(database_url=database_url, auth="none", shutdown_delay="1.5")
    with running("serve", "--port", str(port), env=env, log=tmp_path / "serve.log") as serve:
        serve.wait_until_ready(f"http://127.0.0.1:{port}")
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
            serve.process.terminate()
            serve.wait_for(lambda: client.get("/readyz").status_code == 503)
            problem = client.get("/readyz").json()
            assert (problem["code"], "stopping" in problem["detail"]) == ("unavailable", True)
            body = {"ref": new("batch"), "sku": new("sku"), "qty": 1}
            assert client.post("/v1/batches", json=body).status_code == 201
        assert serve.process.wait(STOP_SECONDS) == 0, serve.output


def test_workers_keep_to_the_shutdown_delay_and_grace(database_url: str, tmp_path: Path) -> None:
    """The parent must not kill the workers during the shutdown delay, in which load balancers take them out."""
    port = free_port()
    env = environment(database_url=database_url, auth="none", shutdown_delay="6", shutdown_grace="0.1")
    with running("serve", "--port", str(port), "--workers", "2", env=env, log=tmp_path / "serve.log") as serve:
        serve.wait_until_ready(f"http://127.0.0.1:{port}")
        stopped_at = time.monotonic()
        serve.process.terminate()
        while time.monotonic() < stopped_at + 5.5:
            try:
                assert httpx.get(f"http://127.0.0.1:{port}/livez", trust_env=False).status_code == 200
            except httpx.TransportError:
                # On a busy machine the request itself may last until after the delay.
                assert time.monotonic() > stopped_at + 6
            time.sleep(0.1)  # Requests in a row show that they still serve.
        assert serve.process.wait(STOP_SECONDS) == 0, serve.output
