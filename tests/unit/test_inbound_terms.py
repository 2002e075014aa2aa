"""Messages from upstream that say where a batch is and how long it is good, or what a line needs of its batch."""

import json
from datetime import date
from typing import Any

import pytest

from app.domain.choice import Requirements
from app.domain.commands import Allocate, ChangeBatchTerms, Command, CreateBatch, PlaceOrder
from app.domain.stock import BatchTerms
from app.integration.cloudevents import UnreadableMessageError
from app.service_layer.inbox import to_request
from tests.support.inbound import LINE, STRUCTURED, binary, structured

DAY = date(2030, 6, 30)
TERMS = {"location": "berlin", "best_before": "2030-06-30", "blocked": True}
NEEDS = {"from": ["berlin", "paris"], "good_until": "2030-06-30"}


def read(ce_type: str, data: dict[str, Any]) -> Command:
    """The command of the message, which is the same in either mode."""
    command = to_request(binary(type=ce_type), json.dumps(data).encode()).command
    assert to_request(STRUCTURED, structured(type=ce_type, data=data)).command == command
    return command


def test_a_batch_is_recorded_with_its_terms() -> None:
    command = read("batch_created.v1", {"ref": "b", "sku": "S", "qty": 1, **TERMS})
    assert isinstance(command, CreateBatch)
    assert command.terms == BatchTerms("berlin", DAY, is_blocked=True)


@pytest.mark.parametrize(
    "changes",
    [
        TERMS,
        {"location": "berlin"},
        {"best_before": None},
        {"best_before": "2030-06-30"},
        {"blocked": False},
        {"blocked": True, "reallocate": True},
        {"location": "berlin", "reallocate": False},
    ],
)
def test_a_change_of_a_batch_has_the_fields_that_were_sent(changes: dict[str, Any]) -> None:
    command = read("batch_changed.v1", {"ref": "b", **changes})
    assert isinstance(command, ChangeBatchTerms)
    assert command.model_dump(mode="json", exclude_unset=True) == {"ref": "b", **changes}


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ({}, "location, best_before or blocked"),
        ({"reallocate": False}, "location, best_before or blocked"),
        ({"location": "berlin", "reallocate": True}, "goes with blocked: true"),
        ({"blocked": False, "reallocate": True}, "goes with blocked: true"),
        ({"location": None}, "location: "),
        ({"location": "new york"}, "location: "),
        ({"blocked": None}, "blocked: "),
        ({"blocked": "true"}, "blocked: "),
        ({"best_before": "30.06.2030"}, "best_before: .*YYYY-MM-DD"),
    ],
)
def test_a_change_that_cannot_be_understood_is_refused(data: dict[str, Any], reason: str) -> None:
    with pytest.raises(UnreadableMessageError, match=reason):
        read("batch_changed.v1", {"ref": "b", **data})


def test_a_line_has_its_requirements() -> None:
    command = read("allocation_required.v1", {**LINE, **NEEDS})
    assert isinstance(command, Allocate)
    assert command.requirements == Requirements(("berlin", "paris"), DAY)


def test_each_line_of_an_order_has_its_own() -> None:
    lines = [{"sku": "S", "qty": 1, **NEEDS}, {"sku": "T", "qty": 1}]
    command = read("order_placed.v1", {"order_id": "o", "lines": lines})
    assert isinstance(command, PlaceOrder)
    assert [line.requirements for line in command.lines] == [Requirements(("berlin", "paris"), DAY), Requirements()]


@pytest.mark.parametrize(
    ("needs", "reason"),
    [
        ({"from": "berlin"}, "from: "),
        ({"good_until": None}, "good_until: "),
        ({"good_until": "soon"}, "good_until: .*YYYY-MM-DD"),
    ],
)
def test_requirements_that_cannot_be_understood_are_refused(needs: dict[str, Any], reason: str) -> None:
    with pytest.raises(UnreadableMessageError, match=reason):
        read("allocation_required.v1", {**LINE, **needs})
    with pytest.raises(UnreadableMessageError, match=rf"lines\b.*{reason}"):
        read("order_placed.v1", {"order_id": "o", "lines": [{"sku": "S", "qty": 1, **needs}]})
