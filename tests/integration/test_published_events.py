"""advance-clocks on a topic with records of other programs, and on a broker that stops responding."""

import asyncio
import uuid
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from app.adapters.kafka import clients
from app.adapters.kafka.clients import KafkaConfig
from app.operations import history_recovery
from app.settings import Settings
from faults.foreign import Record, Sender
from tests.support.command import environment, run_command
from tests.support.database import raw_connection

pytestmark = pytest.mark.kafka


def _event(sku: str, sequence: int, **other: bytes | None) -> Record:
    headers: dict[str, bytes | None] = {
        "ce_id": str(uuid.uuid4()).encode(),
        "ce_type": b"batch_created.v1",
        "ce_time": b"2026-11-21T03:00:00+00:00",
        "ce_subject": sku.encode(),
        "ce_sequence": str(sequence).encode(),
        "ce_correlationid": b"correlation-1",
        "ce_causationid": b"causation-1",
    }
    value = f'{{"ref":"batch-{sequence}","sku":"{sku}","qty":1,"eta":null}}'.encode()
    return Record(sku.encode(), value, [*(headers | other).items()])


def _foreign(sku: str) -> Sequence[Record]:
    """Records that are not events of the service, although some look similar to one."""
    return [
        Record(None, b"{}"),
        Record(sku.encode(), None),
        Record(None, b"{}", [("ce_subject", None)]),
        Record(None, b"{}", [(b"name-\xff", b"x")]),
        _event(sku, 9, ce_subject=b"\xff"),
        _event(sku, 9, ce_subject=b"no identifier"),
        _event(sku, 9, ce_sequence=b"many"),
        _event(sku, 9, ce_sequence=b"99999999999999999999"),
        _event(sku, 9, ce_time=b"yesterday"),
        _event(sku, 9, ce_id=b"9"),
        _event(sku, 9, ce_type=b"a\x00b"),
        _event(sku, 9, ce_correlationid=None),
        Record(sku.encode(), None, _event(sku, 9).headers),
        Record(sku.encode(), b"a\x00b", _event(sku, 9).headers),
        Record(sku.encode(), b"\xff", _event(sku, 9).headers),
    ]


async def test_records_of_others_are_skipped_and_counted(kafka_settings: Settings, tmp_path: Path) -> None:
    sku, order = f"sku-{uuid.uuid4().hex}", f"order-{uuid.uuid4().hex}"
    foreign = _foreign(sku)
    topic, servers = kafka_settings.kafka_events_topic, kafka_settings.kafka_bootstrap_servers
    await clients.create_topics(KafkaConfig(servers), [topic])
    # The event of an order has no sequence, but is an event of the service.
    unnumbered = [(name, value) for name, value in _event(order, 1).headers if name != "ce_sequence"]
    records = [_event(sku, 1), *foreign, Record(order.encode(), b"{}", unnumbered), _event(sku, 2)]
    with Sender(servers, topic) as sender:
        await asyncio.to_thread(sender.send, records)

    done = await asyncio.to_thread(run_command, ["advance-clocks"], environment(kafka_settings), tmp_path)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "products: 1 were behind" in done.stdout
    assert f"records: {len(foreign)} are not events of this service" in done.stderr
    async with raw_connection(kafka_settings.database_url.get_secret_value()) as connection:
        assert await connection.fetchval("SELECT sequence FROM products WHERE sku = $1", sku) == 2
        remembered = await connection.fetch("SELECT subject, sequence FROM events ORDER BY id")
    assert [tuple(row) for row in remembered] == [(sku, 1), (sku, 2)]


async def test_two_events_with_one_sequence_are_reported(kafka_settings: Settings, tmp_path: Path) -> None:
    """The service went on after it had lost commits: it gave a sequence of a published event to another event."""
    forked, other = f"sku-{uuid.uuid4().hex}", f"sku-{uuid.uuid4().hex}"
    topic, servers = kafka_settings.kafka_events_topic, kafka_settings.kafka_bootstrap_servers
    await clients.create_topics(KafkaConfig(servers), [topic])

    def advance(*records: Record) -> str:
        with Sender(servers, topic) as sender:
            sender.send(list(records))
        done = run_command(["advance-clocks"], environment(kafka_settings), tmp_path)
        assert done.returncode == 0, done.stderr
        return done.stderr

    again = _event(other, 1)
    assert "forked" not in await asyncio.to_thread(advance, _event(forked, 1), _event(forked, 2), again)
    lines = (await asyncio.to_thread(advance, _event(forked, 2), again)).splitlines()
    assert [line for line in lines if line.startswith("forked")] == [
        f"forked: {forked} has two events with one sequence; subscribers must read its state"
    ]


async def test_a_broker_that_stops_sending_records_is_an_error_after_a_timeout(
    kafka_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history_recovery, "RECORD_TIMEOUT", 2.0)
    # The patch would stay for later tests.
    monkeypatch.setattr(history_recovery, "tolerate_any_header_name", lambda: None)
    # The end offset is one too high, so the last record never comes.
    end_offsets = AIOKafkaConsumer.end_offsets

    async def one_more(consumer: AIOKafkaConsumer, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        return {each: end + 1 for each, end in (await end_offsets(consumer, partitions)).items()}

    monkeypatch.setattr(AIOKafkaConsumer, "end_offsets", one_more)
    topic, config = kafka_settings.kafka_events_topic, KafkaConfig(kafka_settings.kafka_bootstrap_servers)
    await clients.create_topics(config, [topic])
    with Sender(kafka_settings.kafka_bootstrap_servers, topic) as sender:
        await asyncio.to_thread(sender.send, [Record(None, b"{}", [(b"x", b"")])])
    pages = history_recovery.read_topic(config, topic)
    assert len(await anext(pages)) == 1
    with pytest.raises(KafkaError, match="no record"):
        await anext(pages)
