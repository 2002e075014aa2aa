"""A ref belongs to a SKU only after a handler has recorded the batch; a group can name refs without recording them."""

import pytest

from app.domain.commands import Allocate, ChangeBatchQuantity, Command, CreateBatch, CreateBatches
from app.domain.errors import DomainError
from app.service_layer.handlers import COMMAND_HANDLERS
from app.service_layer.idempotency import IdempotencyKey, StoredAnswer
from app.service_layer.messagebus import MessageBus
from app.service_layer.requests import Outcome, Request
from tests.support.backends import CAUSE, Backend

CHAIR = CreateBatch(ref="batch-1", sku="CHAIR", qty=5)
TABLE = CreateBatch(ref="batch-1", sku="TABLE", qty=7)


@pytest.fixture
def bus(backend: Backend) -> MessageBus:
    return MessageBus(lambda _: backend.begin(), COMMAND_HANDLERS)


def keyed(command: Command, fingerprint: bytes) -> Request:
    """The command with the one key of this file; another fingerprint makes it another request."""
    answer = StoredAnswer(200, (), b"")
    return Request(command, CAUSE, key=IdempotencyKey("", "key-1", fingerprint), encode=lambda *_: answer)


def code(outcome: Outcome) -> str | None:
    return outcome.error.code if isinstance(outcome.error, DomainError) else None


async def test_a_batch_whose_key_was_reused_does_not_keep_its_ref_from_another_product(bus: MessageBus) -> None:
    lamp = CreateBatch(ref="batch-2", sku="LAMP", qty=1)
    group = [keyed(lamp, b"first"), keyed(CHAIR, b"other"), Request(TABLE, CAUSE)]

    _, reused, recorded = await bus.handle_group(group)

    assert code(reused) == "idempotency-key-reused"
    assert recorded.unwrap().batch.sku == "TABLE"
    (again,) = await bus.handle_group([Request(TABLE, CAUSE)])
    assert not again.unwrap().created


async def test_a_batch_that_is_not_recorded_is_not_found_in_its_group_and_makes_no_product(bus: MessageBus) -> None:
    lamp = CreateBatch(ref="batch-2", sku="LAMP", qty=1)
    change = ChangeBatchQuantity(ref="batch-1", qty=1)
    line = Allocate(order_id="order-1", sku="CHAIR", qty=1)
    group = [keyed(lamp, b"first"), keyed(CHAIR, b"other"), Request(change, CAUSE), Request(line, CAUSE)]

    _, _, changed, allocated = await bus.handle_group(group)

    assert (code(changed), code(allocated)) == ("batch-not-found", "invalid-sku")
    (allocated,) = await bus.handle_group([Request(line, CAUSE)])
    assert code(allocated) == "invalid-sku"


async def test_the_first_batch_that_is_recorded_has_the_ref(bus: MessageBus) -> None:
    change = ChangeBatchQuantity(ref="batch-1", qty=1)
    many = CreateBatches(items=(TABLE, CHAIR))
    group = [keyed(CreateBatch(ref="batch-2", sku="LAMP", qty=1), b"first"), keyed(CHAIR, b"other")]

    outcomes = await bus.handle_group([*group, Request(many, CAUSE), Request(CHAIR, CAUSE), Request(change, CAUSE)])

    recorded, refused = outcomes[2].unwrap()
    assert recorded.batch.sku == "TABLE"
    assert refused.code == code(outcomes[3]) == "batch-conflict"
    assert outcomes[4].unwrap().batch.sku == "TABLE"
