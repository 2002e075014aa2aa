"""What a command accepts: its fields are the contract's."""

from datetime import date

import pytest
from pydantic import TypeAdapter, ValidationError

from app.domain.commands import (
    Allocate,
    AllocateMany,
    CancelAllocation,
    ChangeBatch,
    ChangeBatchEta,
    ChangeBatchQuantity,
    Command,
    CreateBatch,
    CreateBatches,
    OrderedLine,
    PlaceOrder,
    ServeBackorders,
    SetReorderPoint,
)
from app.service_layer.handlers import COMMAND_HANDLERS
from app.service_layer.lock_sets import LOCKS, LockSet

LARGEST = 2_147_483_647


@pytest.mark.parametrize("name", ["a", "0", "A.b_c:d-e", "x" * 255])
def test_takes_identifiers(name: str) -> None:
    command = CreateBatch.model_validate({"ref": name, "sku": name, "qty": 1})

    assert (command.ref, command.sku) == (name, name)


@pytest.mark.parametrize(
    "name",
    ["", " a", "a ", "a\n", "-a", ".a", "_a", ":a", "a b", "a/b", "ä", "aä", "a\x00", "x" * 256, "\uff11", None, 1],
)
@pytest.mark.parametrize("field", ["ref", "sku"])
def test_refuses_what_is_no_identifier(field: str, name: object) -> None:
    with pytest.raises(ValidationError) as refusal:
        CreateBatch.model_validate({"ref": "batch-1", "sku": "CHAIR", "qty": 1, field: name})

    assert [error["loc"] for error in refusal.value.errors()] == [(field,)]


@pytest.mark.parametrize("qty", ["0", "-1", '"3"', "3.0", "3e0", "true", "null", str(LARGEST + 1), "1" * 400, "[1]"])
def test_refuses_what_is_no_quantity(qty: str) -> None:
    with pytest.raises(ValidationError):
        Allocate.model_validate_json(f'{{"order_id": "o", "sku": "s", "qty": {qty}}}')


def test_takes_quantities_up_to_the_largest() -> None:
    assert Allocate.model_validate_json(f'{{"order_id": "o", "sku": "s", "qty": {LARGEST}}}').qty == LARGEST


@pytest.mark.parametrize("qty", [0, LARGEST])
def test_only_a_new_quantity_and_a_reorder_point_may_be_nothing(qty: int) -> None:
    assert SetReorderPoint.model_validate_json(f'{{"sku": "s", "qty": {qty}}}').qty == qty
    assert ChangeBatchQuantity.model_validate_json(f'{{"ref": "b", "qty": {qty}}}').qty == qty
    assert ChangeBatch.model_validate_json(f'{{"ref": "b", "qty": {qty}}}').qty == qty


@pytest.mark.parametrize(
    "eta",
    ['"2030-1-1"', '"20300101"', '"2030-02-30"', '"2030-01-01T00:00:00"', '"2030-W01-1"', "0", '""', '"0000-01-01"'],
)
def test_refuses_what_is_no_date(eta: str) -> None:
    with pytest.raises(ValidationError):
        ChangeBatchEta.model_validate_json(f'{{"ref": "b", "eta": {eta}}}')


@pytest.mark.parametrize(("eta", "expected"), [('"2030-12-31"', date(2030, 12, 31)), ("null", None)])
def test_takes_a_date_or_null(eta: str, expected: date | None) -> None:
    assert ChangeBatchEta.model_validate_json(f'{{"ref": "b", "eta": {eta}}}').eta == expected


def test_a_batch_without_an_eta_is_in_the_warehouse() -> None:
    assert CreateBatch.model_validate_json('{"ref": "b", "sku": "s", "qty": 1}').eta is None


def test_a_line_waits_unless_it_says_otherwise() -> None:
    assert Allocate.model_validate_json('{"order_id": "o", "sku": "s", "qty": 1}').if_unavailable == "backorder"


@pytest.mark.parametrize("value", ['"wait"', "null", '"Reject"'])
def test_refuses_other_wishes(value: str) -> None:
    with pytest.raises(ValidationError):
        Allocate.model_validate_json(f'{{"order_id": "o", "sku": "s", "qty": 1, "if_unavailable": {value}}}')


@pytest.mark.parametrize("body", ["{}", '{"qty": null}', '{"qty": null, "eta": null}', '{"eta": "x"}', '{"qty": -1}'])
def test_a_change_has_to_change_something(body: str) -> None:
    with pytest.raises(ValidationError):
        ChangeBatch.model_validate_json(body[:-1] + (", " if len(body) > 2 else "") + '"ref": "b"}')


@pytest.mark.parametrize(
    "command",
    [
        CreateBatch(ref="b", sku="s", qty=1),
        Allocate(order_id="o", sku="s", qty=1),
        CancelAllocation(order_id="o", sku="s"),
        ServeBackorders(sku="s"),
        SetReorderPoint(sku="s", qty=1),
        ChangeBatchQuantity(ref="b", qty=1),
        ChangeBatch(ref="b", qty=1),
    ],
)
def test_is_frozen_and_takes_no_unknown_field(command: Command) -> None:
    known = command.model_dump(mode="json", exclude_unset=True)

    assert type(command).model_validate(known) == command
    with pytest.raises(ValidationError):
        type(command).model_validate({**known, "colour": "red"})
    with pytest.raises(ValidationError):
        command.sku = "other"  # type: ignore[attr-defined]


def test_a_group_names_everything_its_commands_name() -> None:
    locks = LockSet.of(
        [
            CreateBatch(ref="b1", sku="A", qty=1),
            CreateBatch(ref="b1", sku="B", qty=1),
            Allocate(order_id="o1", sku="C", qty=1),
            CancelAllocation(order_id="o2", sku="C"),
            ChangeBatchQuantity(ref="b2", qty=1),
            ServeBackorders(sku="D"),
            SetReorderPoint(sku="E", qty=1),
        ]
    )

    assert locks.skus == {"A", "B", "C", "D", "E"}
    assert locks.batches_to_create == {("b1", "A"), ("b1", "B")}
    assert locks.batch_refs == {"b1", "b2"}
    assert locks.lines == {("o1", "C"), ("o2", "C")}


def test_each_command_with_a_handler_states_the_rows_that_it_locks() -> None:
    assert {command for command, _ in COMMAND_HANDLERS} <= set(LOCKS)


def test_many_commands_in_one_name_and_weigh_what_they_do_together() -> None:
    lines = AllocateMany(
        items=(Allocate(order_id="o1", sku="CHAIR", qty=1), Allocate(order_id="o2", sku="TABLE", qty=1))
    )
    batches = CreateBatches(items=(CreateBatch(ref="b1", sku="CHAIR", qty=1),))

    assert LockSet.of([lines]) == LockSet.of(lines.items)
    assert LockSet.of([batches]) == LockSet.of(batches.items)
    assert (lines.size, batches.size, lines.items[0].size) == (2, 1, 1)
    assert (lines.routing_key, batches.routing_key) == ("CHAIR", "CHAIR")


@pytest.mark.parametrize("number", [0, 1001])
def test_many_commands_are_1_to_1000(number: int) -> None:
    item = {"order_id": "o", "sku": "s", "qty": 1}
    with pytest.raises(ValidationError):
        AllocateMany.model_validate({"items": [item] * number})


def test_commands_on_one_product_have_one_routing_key() -> None:
    keys = {
        command.routing_key
        for command in (
            CreateBatch(ref="b", sku="CHAIR", qty=1),
            Allocate(order_id="o", sku="CHAIR", qty=1),
            CancelAllocation(order_id="o", sku="CHAIR"),
            ServeBackorders(sku="CHAIR"),
            SetReorderPoint(sku="CHAIR", qty=1),
        )
    }

    assert keys == {"CHAIR"}


def test_the_schema_says_what_the_validation_does() -> None:
    schema = TypeAdapter(Allocate).json_schema()

    assert schema["additionalProperties"] is False
    assert schema["required"] == ["order_id", "sku", "qty"]
    assert (schema["properties"]["qty"]["minimum"], schema["properties"]["qty"]["maximum"]) == (1, LARGEST)


def test_an_order_takes_one_place_in_the_queue_and_a_bulk_one_for_each_item() -> None:
    lines = [OrderedLine(sku=f"SKU-{number}", qty=1) for number in range(20)]
    order = PlaceOrder(order_id="order-1", lines=lines)
    many = AllocateMany(items=tuple(Allocate(order_id="order-1", sku=line.sku, qty=1) for line in lines))

    assert (order.size, order.places) == (20, 1)
    assert (many.size, many.places) == (20, 20)
