"""A request that serves a long queue has a longer deadline than others."""

import httpx
import pytest

from app.adapters.postgresql import command_size
from app.bootstrap import bootstrap
from app.settings import Settings
from tests.support.api import assert_problem, in_process, new
from tests.support.database import raw_connection

LINES = 40
SLOW = """
    CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN PERFORM pg_sleep(0.05); RETURN NEW; END';
    CREATE TRIGGER slow BEFORE UPDATE ON order_lines FOR EACH ROW EXECUTE FUNCTION slow();
"""


async def _restock(settings: Settings) -> httpx.Response:
    """Serve a queue, where each line takes 50 ms, with a deadline of 1 s."""
    sku = new("sku")
    async with bootstrap(settings) as service, in_process(service) as api:
        await api.record(sku, 1)
        items = [{"order_id": f"order-{number}", "sku": sku, "qty": 2} for number in range(LINES)]
        await api.client.post("/v1/allocations/bulk", json={"items": items})
        async with raw_connection(settings.database_url.get_secret_value(), cell_of=sku) as connection:
            await connection.execute(SLOW)
    async with bootstrap(settings.model_copy(update={"http_deadline": 1.0})) as service, in_process(service) as api:
        return await api.client.post("/v1/batches", json={"ref": new("batch"), "sku": sku, "qty": 2 * LINES})


async def test_a_large_request_is_answered_when_it_has_ended(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command_size, "LARGE", LINES // 2)
    answer = await _restock(settings)
    assert (answer.status_code, answer.json()["allocated_qty"]) == (201, 2 * LINES)


async def test_another_request_has_the_usual_time(settings: Settings) -> None:
    assert_problem(await _restock(settings), 503, "unavailable")
