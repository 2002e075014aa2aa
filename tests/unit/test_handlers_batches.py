"""Batches: commands in, outcomes and published messages out."""

from datetime import date

import pytest

from app.domain.commands import Allocate, ChangeBatch, ChangeBatchEta, ChangeBatchQuantity, Command, CreateBatch
from app.domain.errors import BatchConflictError, BatchNotFoundError
from app.integration.dead_letters import DeadLetter, KeepDeadLetter
from app.service_layer.results import BatchChanged, BatchRecorded, BatchState, LineMove
from tests.support.messages import Service

SKU = "INDIFFERENT-TABLE"
TODAY = date(2030, 1, 1)
NO_REASON = {"reason": None, "reference": None}


@pytest.fixture
def service() -> Service:
    return Service()


async def test_records_a_batch_and_publishes_it(service: Service) -> None:
    recorded = await service.send(CreateBatch(ref="batch-1", sku=SKU, qty=100, eta=TODAY))

    assert recorded == BatchRecorded(BatchState("batch-1", SKU, 100, TODAY, 0, 0, 100, 0), created=True)
    assert service.heard() == [("batch_created.v1", {"sku": SKU, "ref": "batch-1", "qty": 100, "eta": "2030-01-01"})]


async def test_the_same_batch_again_answers_with_the_batch_as_it_is_now(service: Service) -> None:
    await service.send(
        CreateBatch(ref="batch-1", sku=SKU, qty=100),
        Allocate(order_id="order-1", sku=SKU, qty=90),
        ChangeBatchQuantity(ref="batch-1", qty=95),
    )
    service.heard()

    again = await service.send(CreateBatch(ref="batch-1", sku=SKU, qty=100))

    assert again == BatchRecorded(BatchState("batch-1", SKU, 95, None, 90, 0, 5, 0), created=False)
    assert service.heard() == []


@pytest.mark.parametrize(
    "other",
    [
        CreateBatch(ref="batch-1", sku=SKU, qty=99),
        CreateBatch(ref="batch-1", sku=SKU, qty=100, eta=TODAY),
        CreateBatch(ref="batch-1", sku="ANOTHER-TABLE", qty=100),
    ],
)
async def test_other_content_under_a_ref_is_a_conflict_without_events(service: Service, other: Command) -> None:
    await service.send(CreateBatch(ref="batch-1", sku=SKU, qty=100))
    service.heard()
    before = service.store.tables

    with pytest.raises(BatchConflictError):
        await service.send(other)

    assert service.store.tables == before
    assert service.heard() == []


async def test_two_skus_claim_a_ref_in_one_group_and_the_first_has_it(service: Service) -> None:
    recorded, refused = await service.send_group(
        CreateBatch(ref="batch-1", sku=SKU, qty=1), CreateBatch(ref="batch-1", sku="ANOTHER-TABLE", qty=1)
    )

    assert (recorded.created, refused) == (True, "batch-conflict")
    assert list(service.store.tables.products) == [SKU]


async def test_a_sold_out_batch_is_still_known(service: Service) -> None:
    await service.send(CreateBatch(ref="batch-1", sku=SKU, qty=1), Allocate(order_id="order-1", sku=SKU, qty=1))

    assert (await service.send(CreateBatch(ref="batch-1", sku=SKU, qty=1))).created is False
    assert (await service.send(ChangeBatchQuantity(ref="batch-1", qty=2))).batch.available_qty == 1


async def test_a_cut_moves_lines_that_no_command_names(service: Service) -> None:
    await service.send(
        CreateBatch(ref="old", sku=SKU, qty=50, eta=date(2011, 1, 1)),
        CreateBatch(ref="newer", sku=SKU, qty=20, eta=date(2011, 1, 2)),
        Allocate(order_id="order-1", sku=SKU, qty=20),
        Allocate(order_id="order-2", sku=SKU, qty=20),
    )
    service.heard()

    changed = await service.send(ChangeBatchQuantity(ref="old", qty=25))

    assert changed == BatchChanged(
        BatchState("old", SKU, 25, date(2011, 1, 1), 20, 0, 5, 0), [LineMove("order-2", SKU, 20, "old", "newer")]
    )
    assert service.heard() == [
        ("batch_quantity_changed.v1", {"sku": SKU, "ref": "old", "qty": 25, "eta": "2011-01-01", **NO_REASON}),
        (
            "line_deallocated.v1",
            {"sku": SKU, "order_id": "order-2", "qty": 20, "batch_ref": "old", "reason": "batch_quantity_changed"},
        ),
        ("line_allocated.v1", {"sku": SKU, "order_id": "order-2", "qty": 20, "batch_ref": "newer"}),
    ]


async def test_a_change_of_both_publishes_one_after_the_other(service: Service) -> None:
    await service.send(CreateBatch(ref="batch-1", sku=SKU, qty=10, eta=TODAY))
    service.heard()

    changed = await service.send(ChangeBatch(ref="batch-1", qty=8, eta=None))

    batch = {"sku": SKU, "ref": "batch-1", "eta": None}
    assert (changed.batch.qty, changed.batch.eta, changed.moved) == (8, None, [])
    assert service.heard() == [
        ("batch_eta_changed.v1", batch | {"qty": 10, "order_ids": [], "order_count": 0}),
        ("batch_quantity_changed.v1", batch | {"qty": 8, **NO_REASON}),
    ]


async def test_a_field_left_out_of_a_change_stays_as_it_is(service: Service) -> None:
    await service.send(CreateBatch(ref="batch-1", sku=SKU, qty=10, eta=TODAY))

    assert (await service.send(ChangeBatch(ref="batch-1", qty=8))).batch.eta == TODAY
    assert (await service.send(ChangeBatch(ref="batch-1", eta=None))).batch.qty == 8
    assert (await service.send(ChangeBatch(ref="batch-1", qty=0))).batch.qty == 0


@pytest.mark.parametrize(
    "same",
    [
        ChangeBatchQuantity(ref="batch-1", qty=10),
        ChangeBatchEta(ref="batch-1", eta=TODAY),
        ChangeBatch(ref="batch-1", qty=10, eta=TODAY),
    ],
)
async def test_the_same_values_again_publish_nothing(service: Service, same: Command) -> None:
    await service.send(CreateBatch(ref="batch-1", sku=SKU, qty=10, eta=TODAY))
    service.heard()

    changed = await service.send(same)

    assert changed == BatchChanged(BatchState("batch-1", SKU, 10, TODAY, 0, 0, 10, 0), [])
    assert service.heard() == []


@pytest.mark.parametrize(
    "command",
    [
        ChangeBatchQuantity(ref="nowhere", qty=10),
        ChangeBatchEta(ref="nowhere", eta=None),
        ChangeBatch(ref="nowhere", qty=10),
    ],
)
async def test_an_unknown_batch_cannot_be_changed(service: Service, command: Command) -> None:
    with pytest.raises(BatchNotFoundError, match="nowhere"):
        await service.send(command)


async def test_a_batch_is_unknown_to_those_that_come_before_it_in_the_group(service: Service) -> None:
    refused, recorded, changed = await service.send_group(
        ChangeBatchQuantity(ref="batch-1", qty=1),
        CreateBatch(ref="batch-1", sku=SKU, qty=5),
        ChangeBatchQuantity(ref="batch-1", qty=2),
    )

    assert (refused, recorded.created, changed.batch.qty) == ("batch-not-found", True, 2)


async def test_a_dead_letter_is_kept_once_for_each_record(service: Service) -> None:
    letter = DeadLetter("allocation", "inbound", 0, 7, b"key", b"value", (("ce_id", b"1"),), "no type")

    await service.send_group(KeepDeadLetter(letter=letter), KeepDeadLetter(letter=letter))
    await service.send(KeepDeadLetter(letter=letter))

    assert service.store.tables.dead_letters == [letter]
