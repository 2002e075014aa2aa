"""The inbound consumer: records in, effects and dead letters out."""

import base64
import json
from typing import Any

import pytest
from prometheus_client import REGISTRY

from app.domain.commands import Allocate, Command
from app.entrypoints.kafka.consumer import InboundConsumer
from app.integration.dead_letters import KeepDeadLetter
from app.service_layer.handlers import keep_dead_letter
from app.service_layer.messagebus import MessageBus, NoHandlerError
from app.service_layer.ports import CommandHandler, TemporarilyUnavailableError, UnitOfWork
from app.service_layer.requests import RetryPolicy
from tests.support.messages import Pauses, Service
from tests.support.records import message, record

AWAY = TemporarilyUnavailableError("the database is away")
TOO_LONG = TemporarilyUnavailableError("stopped at a time limit", timed_out=True)
BATCH: dict[str, Any] = {"ref": "batch-1", "sku": "CHAIR", "qty": 10}
LINE: dict[str, Any] = {"order_id": "order-1", "sku": "CHAIR", "qty": 3}


class Upstream:
    """A consumer over a store in memory."""

    def __init__(self) -> None:
        self.service = Service()
        self.pauses = Pauses()
        self.consumer = InboundConsumer(self.service.bus, consumer_group="allocation", sleep=self.pauses)
        self.handle = self.consumer.handle

    @property
    def letters(self) -> list[tuple[int, str | None, str]]:
        kept = self.service.store.tables.dead_letters
        return [(letter.offset, letter.message_id, letter.reason) for letter in kept]


@pytest.fixture
def upstream() -> Upstream:
    return Upstream()


async def test_the_records_of_a_poll_take_effect_in_their_order_in_one_unit_of_work(upstream: Upstream) -> None:
    await upstream.handle(
        [
            message("batch_created.v1", "1", **BATCH),
            message("allocation_required.v1", "2", **LINE),
            message("allocation_cancelled.v1", "3", order_id="order-1", sku="CHAIR"),
        ]
    )

    assert upstream.service.types_heard() == ["batch_created.v1", "line_allocated.v1", "line_deallocated.v1"]
    assert upstream.service.store.commits == 1


async def test_a_message_that_is_delivered_again_takes_no_effect_again(upstream: Upstream) -> None:
    records = [message("batch_created.v1", "1", **BATCH), message("allocation_required.v1", "2", **LINE)]
    await upstream.handle(records)
    await upstream.handle([*records, message("allocation_cancelled.v1", "3", order_id="order-1", sku="CHAIR")])
    await upstream.handle(records)

    assert upstream.service.store.tables.lines == {}


async def test_a_refusal_is_answered_by_an_event_and_is_no_dead_letter(upstream: Upstream) -> None:
    await upstream.handle(
        [message("allocation_required.v1", "1", **LINE), message("batch_quantity_changed.v1", "2", ref="none", qty=1)]
    )

    assert upstream.service.types_heard() == ["allocation_failed.v1"]
    assert upstream.letters == []
    assert set(upstream.service.store.tables.inbox) == {("", "1"), ("", "2")}


async def test_what_cannot_be_read_is_set_aside_with_all_that_came(upstream: Upstream) -> None:
    headers = [("ce_type", b"unknown"), ("ce_id", b"7"), ("x", b"\xff"), ("x", b"")]
    await upstream.handle([record(headers, b"\x00\xff", offset=41, partition=2, key=b"\x00")])

    (letter,) = upstream.service.store.tables.dead_letters
    assert (letter.topic, letter.partition, letter.offset, letter.key) == ("inbound", 2, 41, b"\x00")
    assert (letter.value, letter.headers, letter.message_id) == (b"\x00\xff", tuple(headers), "7")
    assert letter.consumer == "allocation"
    assert "unknown type 'unknown'" in letter.reason


async def test_those_behind_a_message_that_cannot_be_read_are_handled_with_it(upstream: Upstream) -> None:
    await upstream.handle(
        [
            message("batch_created.v1", "1", offset=0, **BATCH),
            record([], None, offset=1),
            message("allocation_required.v1", "2", offset=2, **LINE),
        ]
    )

    assert upstream.service.types_heard() == ["batch_created.v1", "line_allocated.v1"]
    assert [offset for offset, _, _ in upstream.letters] == [1]
    assert upstream.service.store.commits == 1


async def test_a_letter_is_kept_once_however_often_its_record_is_delivered(upstream: Upstream) -> None:
    for _ in range(3):
        await upstream.handle([record([], b"?", offset=1), record([], b"?", offset=2)])

    assert [offset for offset, _, _ in upstream.letters] == [1, 2]


async def test_a_passing_fault_is_waited_out_however_long_it_lasts(upstream: Upstream) -> None:
    upstream.service.store.faults = [AWAY] * 57

    await upstream.handle([message("batch_created.v1", "1", **BATCH), record([], b"?")])

    assert upstream.service.types_heard() == ["batch_created.v1"]
    assert len(upstream.pauses.seconds) == 57 // 5
    assert upstream.pauses.seconds[-1] == 2.0


async def failing(command: Allocate, uow: UnitOfWork) -> None:
    if command.order_id == "poison":
        message = "a bug"
        raise RuntimeError(message)


async def test_a_message_that_fails_for_good_is_set_aside_and_not_in_the_inbox(
    upstream: Upstream,
) -> None:
    store = upstream.service.store
    handlers: list[tuple[type[Command], CommandHandler]] = [(Allocate, failing), (KeepDeadLetter, keep_dead_letter)]
    bus = MessageBus(store.unit_of_work, handlers, retry=RetryPolicy(sleep=Pauses()))
    consumer = InboundConsumer(bus, consumer_group="allocation", sleep=Pauses())

    await consumer.handle(
        [
            message("allocation_required.v1", "1", offset=1, **LINE),
            message("allocation_required.v1", "2", offset=2, **{**LINE, "order_id": "poison"}),
            message("allocation_required.v1", "3", offset=3, **LINE),
        ]
    )

    assert upstream.letters == [(2, "2", "RuntimeError('a bug')")]
    assert set(store.tables.inbox) == {("", "1"), ("", "3")}


async def test_what_can_be_neither_handled_nor_set_aside_is_not_passed_over(upstream: Upstream) -> None:
    bus = MessageBus(upstream.service.store.unit_of_work, [(Allocate, failing)], retry=RetryPolicy(sleep=Pauses()))
    consumer = InboundConsumer(bus, consumer_group="allocation", sleep=Pauses())

    with pytest.raises(NoHandlerError):
        await consumer.handle([message("allocation_required.v1", **{**LINE, "order_id": "poison"})])


async def test_a_group_that_takes_too_long_is_halved_until_it_does_not(upstream: Upstream) -> None:
    upstream.service.store.faults = [TOO_LONG, TOO_LONG, None, None, TOO_LONG]

    await upstream.handle([message("batch_created.v1", f"{n}", ref=f"batch-{n}", sku="CHAIR", qty=1) for n in range(5)])

    assert [data["ref"] for _, data in upstream.service.heard()] == [f"batch-{n}" for n in range(5)]
    # 0-4 stopped; 0-1 stopped; 0; 1; 2-4 stopped; 2; 3-4.
    assert (upstream.service.store.begun, upstream.service.store.commits) == (7, 4)
    assert upstream.pauses.seconds == []


async def test_a_message_that_is_too_large_for_any_transaction_is_set_aside_and_those_behind_it_are_handled(
    upstream: Upstream,
) -> None:
    upstream.service.store.faults = [TOO_LONG, TOO_LONG, None, *[TOO_LONG] * 3]

    left = await upstream.handle(
        [
            message("batch_created.v1", "1", offset=1, **BATCH),
            message("batch_created.v1", "2", offset=2, **{**BATCH, "ref": "other", "sku": "TABLE"}),
        ]
    )
    (finish,) = left.values()
    assert upstream.service.types_heard() == ["batch_created.v1"]
    await finish()

    ((offset, _, reason),) = upstream.letters
    assert offset == 1
    assert "time limit" in reason


async def test_a_dead_letter_waits_for_the_database_like_everything_else(upstream: Upstream) -> None:
    upstream.service.store.faults = [AWAY] * 11

    await upstream.handle([record([], b"?", offset=5)])

    assert [offset for offset, _, _ in upstream.letters] == [5]


async def test_the_same_id_from_two_sources_is_two_messages(upstream: Upstream) -> None:
    batches = {source: {**BATCH, "ref": f"batch-of-{source}"} for source in ("purchasing", "returns")}
    records = [message("batch_created.v1", "1", source=f"/{source}", **data) for source, data in batches.items()]
    for _ in range(2):
        await upstream.handle(records)

    assert [data["ref"] for _, data in upstream.service.heard()] == ["batch-of-purchasing", "batch-of-returns"]
    assert upstream.letters == []


async def test_a_message_without_a_source_is_not_that_of_any_source(upstream: Upstream) -> None:
    await upstream.handle([message("batch_created.v1", "1", **BATCH)])
    await upstream.handle([message("batch_created.v1", "1", source="/purchasing", **{**BATCH, "ref": "batch-2"})])

    assert upstream.service.types_heard() == ["batch_created.v1", "batch_created.v1"]


@pytest.mark.parametrize("together", [True, False], ids=["in one poll", "later"])
async def test_the_same_identity_with_other_content_is_set_aside_and_never_dropped(
    upstream: Upstream, *, together: bool
) -> None:
    first = message("batch_created.v1", "1", source="/purchasing", **BATCH)
    other = message("batch_created.v1", "1", source="/purchasing", offset=7, **{**BATCH, "ref": "batch-2"})
    set_aside = counted(upstream, "message-conflict")
    for records in [[first, other]] if together else [[first], [other]]:
        await upstream.handle(records)

    assert [data["ref"] for _, data in upstream.service.heard()] == ["batch-1"]
    ((offset, message_id, reason),) = upstream.letters
    assert (offset, message_id) == (7, "1")
    assert "'1' of the source '/purchasing' belongs to another message" in reason
    assert counted(upstream, "message-conflict") == set_aside + 1


def counted(upstream: Upstream, outcome: str) -> float:
    return REGISTRY.get_sample_value("allocation_inbound_messages_total", {"outcome": outcome}) or 0.0


async def test_a_message_of_another_type_with_a_known_identity_is_set_aside(upstream: Upstream) -> None:
    line: dict[str, Any] = {"order_id": "order-1", "sku": "CHAIR"}
    await upstream.handle([message("allocation_cancelled.v1", "1", **line)])
    await upstream.handle([message("line_shipped.v1", "1", offset=3, **line)])

    assert [offset for offset, _, _ in upstream.letters] == [3]


async def test_a_copy_in_another_form_is_the_same_message(upstream: Upstream) -> None:
    """A mirror or a bridge may send it in the other mode, with other white space, its fields in another order."""
    await upstream.handle([message("batch_created.v1", "1", source="/purchasing", **BATCH, eta=None, colour="ré")])
    attributes = {"id": "1", "source": "/purchasing", "type": "batch_created.v1", "specversion": "1.0"}
    data = dict(reversed({**BATCH, "eta": None, "colour": "ré"}.items()))
    structured = json.dumps({**attributes, "data": data}, ensure_ascii=False, indent=2).encode()
    base64_data = base64.b64encode(json.dumps(data).encode()).decode()
    mode = [("Content-Type", b"application/cloudevents+json")]
    await upstream.handle(
        [record(mode, structured), record(mode, json.dumps({**attributes, "data_base64": base64_data}).encode())]
    )

    assert upstream.service.types_heard() == ["batch_created.v1"]
    assert upstream.letters == []


async def test_log_metric_and_table_agree_on_the_letters(upstream: Upstream, caplog: pytest.LogCaptureFixture) -> None:
    def letters_counted() -> float:
        return REGISTRY.get_sample_value("allocation_dead_letters_total", {"consumer": "allocation"}) or 0.0

    before = letters_counted()
    types = [("ce_type", f"unknown-{number}.v1".encode()) for number in range(3)]
    records = [record([("ce_id", b"1"), each], b"{}", offset=offset) for offset, each in enumerate(types)]
    for _ in range(2):
        await upstream.handle(records)
    await upstream.handle([record([types[0], ("ce_id", b"1"), ("traceparent", b"00")], b"{}", offset=9)])

    warnings = [line for line in caplog.messages if "is a dead letter now" in line]
    assert [len(upstream.letters), letters_counted() - before, len(warnings)] == [3, 3, 3]
