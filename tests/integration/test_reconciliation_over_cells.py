"""Reconciliation compares the data of each cell, and the refs of batches over all cells."""

import asyncpg
import pytest

from app.bootstrap import Service
from app.operations import ref_reconciliation
from app.operations.reconciliation import Reconciliation
from tests.support.four_cells import in_each_cell, insert_batch, insert_product, insert_ref, schema_of_name

SKUS = in_each_cell("SKU", of_each=2)


@pytest.fixture(autouse=True)
def _small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ref_reconciliation, "PAGE", 2)
    monkeypatch.setattr(ref_reconciliation, "SETTLE", 0.0)


async def differences(service: Service, *, repair: bool = False) -> list[str]:
    walk = Reconciliation(service, repair=repair, page_size=2)
    found = sorted([difference.line async for difference in walk.differences()])
    assert walk.unchecked == 0
    return found


async def test_reconciliation_finds_differences_in_each_cell(over_cells: Service, database: asyncpg.Connection) -> None:
    for sku in SKUS:
        await insert_product(database, sku, backordered_qty=3)
    assert await differences(over_cells) == sorted(
        f"backordered_qty {sku}: the product has 3, its queued lines need 0" for sku in SKUS
    )

    assert len(await differences(over_cells, repair=True)) == len(SKUS)
    assert await differences(over_cells) == []


async def test_reconciliation_compares_refs_with_batches_in_both_directions(
    over_cells: Service, database: asyncpg.Connection
) -> None:
    # Half of the refs are in another cell than their product for certain.
    refs = {f"{sku}-ref": sku for sku in SKUS} | {
        next(name for name in in_each_cell(f"{sku}-far") if schema_of_name(name) != schema_of_name(sku)): sku
        for sku in SKUS
    }
    for sku in SKUS:
        await insert_product(database, sku)
    for number, (ref, sku) in enumerate(refs.items()):
        await insert_batch(database, ref, sku, number)
        await insert_ref(database, ref, sku)
    assert await differences(over_cells) == []

    names = in_each_cell("ref", of_each=1)
    lost, unknown = dict(zip(list(refs)[:4], SKUS, strict=False)), dict(zip(names, SKUS, strict=False))
    for ref in lost:
        await database.execute(f"DELETE FROM {schema_of_name(ref)}.batch_refs WHERE ref = $1", ref)
    for ref, sku in unknown.items():
        await insert_ref(database, ref, sku)
    other = in_each_cell("other")[0]
    await insert_product(database, "NEW")
    await insert_batch(database, other, "NEW", 1)
    await insert_ref(database, other, SKUS[0])

    orphans = [f"batch_ref {sku}: the ref {ref} has no batch" for ref, sku in unknown.items()]
    orphans += [
        f"batch_ref {SKUS[0]}: the ref {other} has no batch",
        f"batch_ref NEW: the ref of batch {other} names {SKUS[0]}",
    ]
    missing = [f"batch_ref {sku}: batch {ref} has no ref" for ref, sku in lost.items()]
    assert await differences(over_cells) == sorted(orphans + missing)
    assert await differences(over_cells, repair=True) == sorted(
        orphans + [f"{difference} (repaired)" for difference in missing]
    )
    assert await differences(over_cells) == sorted(orphans)
