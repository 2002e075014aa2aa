"""The import into several cells."""

import asyncio
from collections.abc import Sequence

import pytest

from app.integration.file_rows import ndjson_reader
from app.operations.importer import Importer
from app.service_layer.cells import CellMap
from app.service_layer.handlers import COMMAND_HANDLERS
from app.service_layer.messagebus import MessageBus
from app.service_layer.requests import Outcome, Request
from tests.support.fakes import InMemoryStore

CELLS = CellMap(4)


class NotingBus(MessageBus):
    """Notes the SKUs of each group."""

    def __init__(self) -> None:
        super().__init__(InMemoryStore().unit_of_work, COMMAND_HANDLERS)
        self.groups: list[list[str]] = []

    async def handle_group(self, group: Sequence[Request]) -> list[Outcome]:
        self.groups.append([request.command.routing_key for request in group])
        return await super().handle_group(group)


@pytest.mark.parametrize("lanes", [1, 2, 3, 8])
async def test_a_group_has_rows_of_one_cell(lanes: int) -> None:
    bus = NotingBus()
    importer = Importer(bus, ndjson_reader(), lanes=lanes, group_limit=5, stopping=asyncio.Event(), cells=CELLS)
    skus = [f"SKU-{number % 12}" for number in range(60)]
    rows = [f'{{"order_id":"o{number}","sku":"{sku}","qty":1}}'.encode() for number, sku in enumerate(skus)]

    results = await importer.run(1, rows)

    assert [result.row for result in results] == list(range(1, 61))
    assert sorted(sku for group in bus.groups for sku in group) == sorted(skus)
    assert all(len({CELLS.of(sku) for sku in group}) == 1 for group in bus.groups)
