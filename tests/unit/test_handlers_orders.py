"""Orders of several lines: commands in, outcomes and published messages out."""

from datetime import date

import pytest
from pydantic import ValidationError

from app.domain.commands import (
    Allocate,
    CancelAllocation,
    CancelOrder,
    ChangeBatchQuantity,
    Command,
    CreateBatch,
    PlaceOrder,
    ShipLine,
)
from app.domain.errors import InvalidSkuError, OrderConflictError, OrderNotFoundError, OutOfStockError
from app.service_layer.results import OrderAccepted, OrderState
from tests.support.messages import Service


def order(*lines: tuple[str, int], order_id: str = "order-1", if_unavailable: str = "backorder") -> PlaceOrder:
    wanted = [{"sku": sku, "qty": qty} for sku, qty in lines]
    return PlaceOrder.model_validate({"order_id": order_id, "lines": wanted, "if_unavailable": if_unavailable})


def shown(state: OrderState) -> list[tuple[str, str, str | None]]:
    return [(line.sku, line.status, line.batch_ref) for line in state.lines]


@pytest.fixture
async def service() -> Service:
    return await Service.with_chairs_and_tables()


async def place(service: Service, command: Command) -> OrderAccepted:
    accepted = await service.send(command)
    assert isinstance(accepted, OrderAccepted)
    return accepted


async def test_each_line_is_allocated_or_waits_by_itself(service: Service) -> None:
    accepted = await place(service, order(("TABLE", 3), ("CHAIR", 4)))

    assert accepted.changed
    assert shown(accepted.order) == [("CHAIR", "allocated", "chairs"), ("TABLE", "backordered", None)]
    assert (accepted.order.complete, accepted.order.earliest_eta) == (False, None)
    heard = service.heard()
    assert heard[0] == (
        "order_placed.v1",
        {"order_id": "order-1", "lines": [{"sku": "CHAIR", "qty": 4}, {"sku": "TABLE", "qty": 3}]},
    )
    assert sorted(kind for kind, _ in heard[1:]) == ["line_allocated.v1", "line_backordered.v1", "out_of_stock.v1"]


async def test_an_order_is_complete_on_the_day_its_last_batch_arrives(service: Service) -> None:
    await service.send(
        CreateBatch(ref="lamps", sku="LAMP", qty=1, eta=date(2030, 1, 5)),
        CreateBatch(ref="shelves", sku="SHELF", qty=1, eta=date(2030, 1, 3)),
    )

    accepted = await place(service, order(("LAMP", 1), ("SHELF", 1), ("CHAIR", 1)))

    assert (accepted.order.complete, accepted.order.earliest_eta) == (True, date(2030, 1, 5))


async def test_with_reject_nothing_is_kept_where_a_line_finds_no_batch(service: Service) -> None:
    with pytest.raises(OutOfStockError, match=r"^Out of stock for sku TABLE$") as refusal:
        await service.send(order(("CHAIR", 4), ("TABLE", 3), if_unavailable="reject"))

    assert refusal.value.details == {"skus": ["TABLE"]}
    assert service.heard() == [
        ("order_refused.v1", {"order_id": "order-1", "lines": [{"sku": "TABLE", "qty": 3}], "reason": "out_of_stock"}),
        ("out_of_stock.v1", {"sku": "TABLE", "order_id": "order-1", "qty": 3}),
        ("allocation_failed.v1", {"sku": "TABLE", "order_id": "order-1", "qty": 3, "reason": "out_of_stock"}),
    ]
    assert service.store.tables.lines == {}
    assert service.store.tables.orders == {}


async def test_with_reject_every_short_line_is_named(service: Service) -> None:
    with pytest.raises(OutOfStockError, match=r"^Out of stock for sku CHAIR, TABLE$"):
        await service.send(order(("TABLE", 3), ("CHAIR", 11), if_unavailable="reject"))


async def test_with_reject_all_lines_that_fit_are_allocated(service: Service) -> None:
    accepted = await place(service, order(("CHAIR", 10), ("TABLE", 2), if_unavailable="reject"))

    assert [status for _, status, _ in shown(accepted.order)] == ["allocated", "allocated"]


async def test_an_unknown_sku_refuses_the_whole_order(service: Service) -> None:
    with pytest.raises(InvalidSkuError, match=r"^Invalid sku LAMP, SHELF$"):
        await service.send(order(("SHELF", 1), ("CHAIR", 1), ("LAMP", 1)))

    assert [(kind, data.get("sku")) for kind, data in service.heard()] == [
        ("allocation_failed.v1", "LAMP"),
        ("allocation_failed.v1", "SHELF"),
        ("order_refused.v1", None),
    ]
    assert service.store.tables.lines == {}


async def test_the_same_order_again_answers_with_the_order_as_it_is_now(service: Service) -> None:
    await service.send(order(("CHAIR", 4), ("TABLE", 2)), ChangeBatchQuantity(ref="tables", qty=0))
    service.heard()

    again = await place(service, order(("TABLE", 2), ("CHAIR", 4), if_unavailable="reject"))

    assert not again.changed
    assert shown(again.order) == [("CHAIR", "allocated", "chairs"), ("TABLE", "backordered", None)]
    assert service.heard() == []


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param((("CHAIR", 5), ("TABLE", 2)), id="another-quantity"),
        pytest.param((("CHAIR", 4),), id="a-line-less"),
        pytest.param((("CHAIR", 4), ("TABLE", 2), ("LAMP", 1)), id="a-line-more"),
    ],
)
async def test_other_lines_under_the_same_id_are_a_conflict(
    service: Service, lines: tuple[tuple[str, int], ...]
) -> None:
    await service.send(CreateBatch(ref="lamps", sku="LAMP", qty=1), order(("CHAIR", 4), ("TABLE", 2)))
    service.heard()

    with pytest.raises(OrderConflictError):
        await service.send(order(*lines))

    ((kind, data),) = service.heard()
    assert (kind, data["reason"]) == ("order_refused.v1", "conflict")


async def test_the_same_order_again_does_not_bring_back_a_line_that_was_cancelled(service: Service) -> None:
    await service.send(order(("CHAIR", 4), ("TABLE", 2)), CancelAllocation(order_id="order-1", sku="TABLE"))

    again = await place(service, order(("CHAIR", 4), ("TABLE", 2)))

    assert not again.changed
    assert shown(again.order) == [("CHAIR", "allocated", "chairs")]


async def test_an_order_is_the_same_as_the_lines_that_were_placed_one_by_one(service: Service) -> None:
    await service.send(*(Allocate(order_id="order-1", sku=sku, qty=1) for sku in ("CHAIR", "TABLE")))

    assert not (await place(service, order(("TABLE", 1), ("CHAIR", 1)))).changed
    with pytest.raises(OrderConflictError):
        await service.send(order(("TABLE", 1)))


async def test_a_cancelled_order_is_forgotten_and_may_be_placed_anew(service: Service) -> None:
    await service.send(order(("CHAIR", 10), ("TABLE", 3)), Allocate(order_id="order-2", sku="CHAIR", qty=1))
    service.heard()

    await service.send(CancelOrder(order_id="order-1"))

    assert service.heard() == [
        (
            "order_cancelled.v1",
            {"order_id": "order-1", "lines": [{"sku": "CHAIR", "qty": 10}, {"sku": "TABLE", "qty": 3}]},
        ),
        (
            "line_deallocated.v1",
            {"sku": "CHAIR", "order_id": "order-1", "qty": 10, "batch_ref": "chairs", "reason": "cancelled"},
        ),
        ("line_allocated.v1", {"sku": "CHAIR", "order_id": "order-2", "qty": 1, "batch_ref": "chairs"}),
        ("back_in_stock.v1", {"sku": "CHAIR", "available_qty": 9}),
        (
            "line_deallocated.v1",
            {"sku": "TABLE", "order_id": "order-1", "qty": 3, "batch_ref": None, "reason": "cancelled"},
        ),
    ]
    with pytest.raises(OrderNotFoundError):
        await service.send(CancelOrder(order_id="order-1"))
    assert (await place(service, order(("TABLE", 1)))).changed


async def test_an_order_whose_lines_were_all_cancelled_one_by_one_may_be_placed_anew(service: Service) -> None:
    await service.send(order(("CHAIR", 1)), CancelAllocation(order_id="order-1", sku="CHAIR"))

    assert (await place(service, order(("TABLE", 1)))).changed


async def test_a_line_that_comes_later_does_not_bring_back_an_order_that_was_forgotten(service: Service) -> None:
    await service.send(
        order(("CHAIR", 1), ("TABLE", 1)),
        CancelAllocation(order_id="order-1", sku="CHAIR"),
        CancelAllocation(order_id="order-1", sku="TABLE"),
        CreateBatch(ref="lamps", sku="LAMP", qty=9),
        Allocate(order_id="order-1", sku="LAMP", qty=5),
    )

    with pytest.raises(OrderConflictError):
        await service.send(order(("CHAIR", 1), ("TABLE", 1)))
    assert not (await place(service, order(("LAMP", 5)))).changed


async def test_lines_that_were_placed_one_by_one_are_an_order_once_they_were_called_so(service: Service) -> None:
    await service.send(*(Allocate(order_id="order-1", sku=sku, qty=1) for sku in ("CHAIR", "TABLE")))
    await service.send(order(("CHAIR", 1), ("TABLE", 1)), CancelAllocation(order_id="order-1", sku="TABLE"))

    again = await place(service, order(("CHAIR", 1), ("TABLE", 1)))

    assert (again.changed, shown(again.order)) == (False, [("CHAIR", "allocated", "chairs")])


async def test_what_has_been_shipped_stays(service: Service) -> None:
    await service.send(order(("CHAIR", 4), ("TABLE", 2)), ShipLine(order_id="order-1", sku="CHAIR"))
    service.heard()

    await service.send(CancelOrder(order_id="order-1"))
    assert service.heard()[0][1]["lines"] == [{"sku": "TABLE", "qty": 2}]
    await service.send(CancelOrder(order_id="order-1"))
    assert service.heard() == []

    again = await place(service, order(("CHAIR", 4), ("TABLE", 2)))
    assert (again.changed, shown(again.order)) == (False, [("CHAIR", "shipped", "chairs")])


async def test_several_commands_on_one_order_in_one_group_see_each_other(service: Service) -> None:
    results = await service.send_group(
        order(("CHAIR", 4), ("TABLE", 1)),
        Allocate(order_id="order-1", sku="CHAIR", qty=4),
        order(("CHAIR", 4), ("TABLE", 1)),
        CancelOrder(order_id="order-1"),
        CancelOrder(order_id="order-1"),
        order(("TABLE", 2)),
    )

    changed = [getattr(result, "changed", result) for result in results]
    assert changed == [True, False, False, None, "order-not-found", True]


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param([], id="none"),
        pytest.param([{"sku": "CHAIR", "qty": 1}, {"sku": "CHAIR", "qty": 2}], id="a-sku-twice"),
        pytest.param([{"sku": f"SKU-{number}", "qty": 1} for number in range(101)], id="too-many"),
        pytest.param([{"sku": "CHAIR", "qty": 0}], id="of-nothing"),
        pytest.param([{"sku": "CHAIR", "qty": 1, "colour": "red"}], id="with-more"),
    ],
)
def test_a_list_of_lines_that_is_none_is_refused(lines: list[object]) -> None:
    with pytest.raises(ValidationError):
        PlaceOrder.model_validate({"order_id": "order-1", "lines": lines})
