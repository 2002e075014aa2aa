"""Availability and dry runs: computed as the real command is, with nothing stored."""

import random
from collections.abc import AsyncIterator

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from app.adapters.postgresql.connections import create_engine
from app.bootstrap import bootstrap
from app.embedded.process import free_port
from app.service_layer.messagebus import MessageBus
from app.settings import Settings
from tests.support.api import Api, Json, assert_problem, in_process, new
from tests.support.cells import cells_of

TABLES = "products", "batches", "order_lines", "events", "outbox"


async def availability(api: Api, sku: str, **query: str | int) -> Json:
    answer = await api.client.get(f"/v1/products/{sku}/availability", params=query)
    assert answer.status_code == 200, answer.text
    found: Json = answer.json()
    return found


async def dry_run(api: Api, sku: str, qty: int, order_id: str | None = None, **more: object) -> httpx.Response:
    body = {"order_id": order_id or new("order"), "sku": sku, "qty": qty, **more}
    return await api.client.post("/v1/allocations", params={"dry_run": "true"}, json=body)


async def preview(api: Api, sku: str, qty: int, order_id: str | None = None) -> Json:
    answer = await dry_run(api, sku, qty, order_id)
    assert answer.status_code == 200, answer.text
    found: Json = answer.json()
    assert found["explanation"]
    return found


async def test_stock_in_the_warehouse_is_available_today(api: Api) -> None:
    sku = new("sku")
    ref = await api.record(sku, 40)
    await api.record(sku, 100, eta="2011-01-01")
    assert await availability(api, sku, qty=40, by="2010-12-24") == {
        "sku": sku,
        "qty": 40,
        "by": "2010-12-24",
        "available": True,
        "batch_ref": ref,
        "eta": None,
        "earliest": {"batch_ref": ref, "eta": None},
    }


@pytest.mark.parametrize(("by", "in_time"), [("2010-12-31", False), ("2011-01-01", True), ("2011-01-02", True)])
async def test_a_shipment_is_available_from_its_eta_on(api: Api, by: str, in_time: bool) -> None:
    sku = new("sku")
    await api.record(sku, 39)
    await api.record(sku, 50, eta="2011-01-05")
    ref = await api.record(sku, 50, eta="2011-01-01")

    found = await availability(api, sku, qty=40, by=by)

    assert found["available"] is in_time
    assert (found["batch_ref"], found["eta"]) == ((ref, "2011-01-01") if in_time else (None, None))
    assert found["earliest"] == {"batch_ref": ref, "eta": "2011-01-01"}


async def test_without_a_day_any_eta_counts(api: Api) -> None:
    sku = new("sku")
    ref = await api.record(sku, 50, eta="2011-01-01")
    found = await availability(api, sku, qty=50)
    assert (found["available"], found["batch_ref"], found["by"]) == (True, ref, None)


async def test_a_quantity_spread_over_two_batches_is_not_available(api: Api) -> None:
    sku = new("sku")
    for _ in range(2):
        await api.record(sku, 20)
    found = await availability(api, sku, qty=21)
    assert (found["available"], found["batch_ref"], found["earliest"]) == (False, None, None)


async def test_allocated_stock_is_not_available(api: Api) -> None:
    sku = new("sku")
    await api.record(sku, 10)
    await api.order(sku, 10)
    assert (await availability(api, sku, qty=1))["earliest"] is None


async def test_an_unknown_product_is_not_found(api: Api) -> None:
    answer = await api.client.get(f"/v1/products/{new('sku')}/availability", params={"qty": 1})
    assert_problem(answer, 404, "product-not-found")


async def test_a_dry_run_shows_the_batch_and_the_reason(api: Api) -> None:
    sku, order = new("sku"), new("order")
    here = await api.record(sku, 5)
    ship = await api.record(sku, 9, eta="2011-01-01")
    line = {"order_id": order, "sku": sku, "held_until": None}

    found = [await preview(api, sku, qty, order) for qty in (5, 6, 10)]

    for entry in found:
        del entry["explanation"]
    assert found == [
        line | {"qty": 5, "status": "allocated", "batch_ref": here, "eta": None, "reason": "in_warehouse"},
        line | {"qty": 6, "status": "allocated", "batch_ref": ship, "eta": "2011-01-01", "reason": "earliest_arrival"},
        line
        | {"qty": 10, "status": "backordered", "batch_ref": None, "eta": None, "reason": "out_of_stock"}
        | {"pieces": [{"qty": 5, "batch_ref": here, "eta": None}, {"qty": 5, "batch_ref": ship, "eta": "2011-01-01"}]},
    ]


async def test_a_dry_run_of_an_existing_line_shows_its_status(api: Api) -> None:
    sku = new("sku")
    ref = await api.record(sku, 5)
    held, waiting, shipped = await api.order(sku, 2), await api.order(sku, 6), await api.order(sku, 3)
    assert (await api.client.post(f"/v1/allocations/{shipped}/{sku}/ship")).status_code == 200

    found = [await preview(api, sku, qty, order) for order, qty in ((held, 2), (waiting, 6), (shipped, 3))]

    assert [(entry["status"], entry["batch_ref"], entry["reason"]) for entry in found] == [
        ("allocated", ref, "already_accepted"),
        ("backordered", None, "already_accepted"),
        ("shipped", ref, "already_accepted"),
    ]


async def test_a_dry_run_is_refused_as_the_real_call_is(api: Api) -> None:
    sku, unknown = new("sku"), new("sku")
    await api.record(sku, 5)
    order = await api.order(sku, 5)
    for status, code, asked in (
        (400, "invalid-sku", {"sku": unknown, "qty": 1}),
        (409, "allocation-conflict", {"sku": sku, "qty": 4, "order_id": order}),
        (409, "out-of-stock", {"sku": sku, "qty": 1, "if_unavailable": "reject"}),
    ):
        previewed = assert_problem(await dry_run(api, **asked), status, code)  # type: ignore[arg-type]
        done = assert_problem(await api.allocate(**asked), status, code)  # type: ignore[arg-type]
        assert previewed == done


async def everything(engine: AsyncEngine) -> dict[str, list[str]]:
    async with engine.connect() as connection:
        return {
            table: list((await connection.execute(text(f"SELECT t::text FROM {table} t ORDER BY 1"))).scalars())
            for table in TABLES
        }


@pytest.fixture
async def without_a_bus(shared_settings: Settings) -> AsyncIterator[Api]:
    """The application with a bus that raises an error when it is used."""

    class NoBus(MessageBus):
        async def handle(self, *_: object) -> None:
            raise AssertionError("the bus was used")

    def no_unit_of_work() -> None:
        raise AssertionError("a unit of work was begun")

    bus = NoBus(no_unit_of_work, [])  # type: ignore[arg-type]
    async with bootstrap(shared_settings, bus=bus) as service, in_process(service) as caller:
        yield caller


async def test_nothing_is_stored_or_published_and_no_lock_is_waited_for(
    api: Api, without_a_bus: Api, engine: AsyncEngine
) -> None:
    sku = new("sku")
    await api.record(sku, 5)
    before = await everything(engine)
    async with cells_of(engine).engine_of(sku).begin() as connection:
        await connection.execute(text("SELECT FROM products WHERE sku = :sku FOR UPDATE"), {"sku": sku})
        for qty in (5, 6):
            await preview(without_a_bus, sku, qty)
        assert_problem(await dry_run(without_a_bus, sku, 6, if_unavailable="reject"), 409, "out-of-stock")
        assert_problem(await dry_run(without_a_bus, new("sku"), 1), 400, "invalid-sku")
        assert (await availability(without_a_bus, sku, qty=5))["available"]

    assert await everything(engine) == before


@pytest.mark.parametrize("seed", range(3))
async def test_the_real_call_gives_the_result_of_the_dry_run(api: Api, seed: int) -> None:
    chance, sku = random.Random(seed), new("sku")
    etas = [None, "2011-01-01", "2011-01-02"]
    orders = [new("order") for _ in range(12)]
    await api.record(sku, 1)
    for _ in range(25):
        match chance.randrange(4):
            case 0:
                await api.record(sku, chance.randint(1, 20), eta=chance.choice(etas))
            case 1:
                await api.client.delete(f"/v1/allocations/{chance.choice(orders)}/{sku}")
            case _:
                order, qty = chance.choice(orders), chance.randint(1, 12)
                available = await availability(api, sku, qty=qty)
                previewed = await dry_run(api, sku, qty, order)
                done = await api.allocate(sku, qty, order_id=order)
                expected = previewed.json()
                assert (previewed.status_code, done.status_code) in {(200, 200), (200, 201), (200, 202), (409, 409)}
                if previewed.status_code == 200:
                    reason = expected.pop("reason")
                    assert (reason == "already_accepted") == (done.status_code == 200)
                    assert expected.pop("explanation")
                    pieces = expected.pop("pieces", [])
                    assert not pieces or (reason == "out_of_stock" and sum(each["qty"] for each in pieces) == qty)
                    if done.status_code == 201:
                        assert available["earliest"] == {"batch_ref": expected["batch_ref"], "eta": expected["eta"]}
                assert expected == done.json()


async def test_a_dry_run_reads_the_primary_and_not_a_replica(shared_settings: Settings) -> None:
    unreachable = create_engine(f"postgresql+asyncpg://allocation@127.0.0.1:{free_port()}/nowhere", pool_size=1)
    async with bootstrap(shared_settings, read_engine=unreachable) as service, in_process(service) as api:
        sku = new("sku")
        await api.record(sku, 3)
        line = {"order_id": new("order"), "sku": sku, "qty": 2}

        answer = await api.client.post("/v1/allocations?dry_run=true", json=line)
        assert (answer.status_code, answer.json()["reason"]) == (200, "in_warehouse")
        order = {"lines": [{"sku": sku, "qty": 2}]}
        assert (await api.client.post("/v1/orders?dry_run=true", json=order)).status_code == 200
        assert (await api.client.get(f"/v1/products/{sku}/availability?qty=1")).status_code == 503
