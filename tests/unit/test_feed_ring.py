"""The newest events in memory, and the cursors of the feed."""

import itertools
import json
import random
from collections.abc import Sequence

import pytest
from aiokafka import ConsumerRecord

from app.adapters.kafka.feed_cursor import decode, encode, padded
from app.adapters.kafka.feed_ring import Ring
from app.service_layer.feed import FeedEvent, FeedFilter, InvalidFeedCursorError
from tests.support.feed import event
from tests.support.records import record

TOPIC = bytes(range(16))
ALL = FeedFilter()


def at(partition: int, offset: int, sku: str = "CHAIR", **more: object) -> ConsumerRecord:
    headers, value = event(sku, offset + 1, **more).to_record()  # type: ignore[arg-type]
    return record(headers, value, partition=partition, offset=offset)


def sequences(events: Sequence[FeedEvent]) -> list[str]:
    return [json.loads(each.json)["sequence"] for each in events]


@pytest.mark.parametrize("positions", [(0,), (1, 2, 3), (127, 128, 2**14), (2**63 - 1, 0, 5)])
def test_a_cursor_has_its_topic_and_its_positions(positions: tuple[int, ...]) -> None:
    assert decode(encode(TOPIC, positions)) == (TOPIC, positions)


def test_a_changed_cursor_is_refused() -> None:
    cursor = encode(TOPIC, (5, 1000, 7))
    for place in range(len(cursor)):
        for other in "Aa_-9":
            changed = cursor[:place] + other + cursor[place + 1 :]
            if changed != cursor:
                # The unused bits of the last character are the only difference that has no meaning.
                try:
                    assert decode(changed) == decode(cursor)
                    assert place == len(cursor) - 1
                except InvalidFeedCursorError:
                    pass


@pytest.mark.parametrize("cursor", ["", "x", "earliest!", "é", "AA==", "A" * 1000, encode(TOPIC, (3,))[:-1], "null"])
def test_other_text_is_not_a_cursor(cursor: str) -> None:
    with pytest.raises(InvalidFeedCursorError):
        decode(cursor)


def test_a_cursor_of_two_varints_that_do_not_end_is_refused() -> None:
    whole = encode(TOPIC, (2**70,))
    with pytest.raises(InvalidFeedCursorError):
        decode(whole)


def test_a_batch_has_the_events_of_its_filter_and_moves_past_the_others() -> None:
    ring = Ring(TOPIC, [0, 0])
    ring.append([at(0, 0, "CHAIR"), at(0, 1, "TABLE"), at(1, 0, "CHAIR"), at(0, 2, "TABLE", type_="low_stock.v1")])
    batch, number = ring.batch(0, 50, FeedFilter(sku="TABLE"))
    assert [each.sku for each in batch.events] == ["TABLE", "TABLE"]
    assert number == 4
    batch, number = ring.batch(0, 50, FeedFilter(type="low_stock.v1"))
    assert [each.type for each in batch.events] == ["low_stock.v1"]
    batch, number = ring.batch(0, 1, FeedFilter(sku="TABLE"))
    assert (len(batch.events), number) == (1, 2)
    assert decode(batch.events[0].cursor) == (TOPIC, (2, 0))
    assert ring.positions_before(number) == (2, 0)


def test_readers_with_the_same_filter_share_a_batch_until_there_are_new_events() -> None:
    ring = Ring(TOPIC, [0])
    ring.append([at(0, 0)])
    first, _ = ring.batch(0, 50, FeedFilter(sku="CHAIR"))
    assert ring.batch(0, 50, FeedFilter(sku="CHAIR"))[0] is first
    ring.append([at(0, 1)])
    assert len(ring.batch(0, 50, FeedFilter(sku="CHAIR"))[0].events) == 2


def test_records_of_other_programs_are_left_out() -> None:
    ring = Ring(TOPIC, [0])
    headers, value = event().to_record()
    without_source = [pair for pair in headers if pair[0] != "ce_source"]
    strange = [
        record([], b"\xff", offset=0),
        record(headers, None, offset=1),
        record(headers, b"not JSON", offset=2),
        record(without_source, value, offset=3),
        record([("ce_id", b"\xff"), ("ce_type", b"x")], value, offset=4),
        at(0, 5),
    ]
    ring.append(strange)
    batch, number = ring.batch(0, 50, ALL)
    assert (sequences(batch.events), number) == (["6"], 6)


def test_data_with_line_breaks_become_one_line() -> None:
    ring = Ring(TOPIC, [0])
    headers, _ = event().to_record()
    ring.append([record(headers, b'{"sku":\n\r\n"CHAIR"}', offset=0)])
    batch, _ = ring.batch(0, 50, ALL)
    assert b"\n" not in batch.events[0].json
    assert json.loads(batch.events[0].json)["data"] == {"sku": "CHAIR"}


def test_the_ring_drops_the_oldest_beyond_its_limits() -> None:
    ring = Ring(TOPIC, [0, 7], max_events=10)
    ring.append([at(0, number) for number in range(25)])
    assert (ring.first, ring.behind_last, ring.start) == (15, 25, (15, 7))
    assert not ring.holds((14, 7))
    assert ring.holds((15, 7))
    large = Ring(TOPIC, [0], max_bytes=10_000)
    headers, _ = event().to_record()
    large.append([record(headers, b"[" + b"1," * 2000 + b"1]", offset=number) for number in range(10)])
    assert large.behind_last - large.first == 1


def test_records_that_are_read_again_are_dropped() -> None:
    ring = Ring(TOPIC, [0])
    ring.append([at(0, 0), at(0, 1)])
    ring.append([at(0, 0), at(0, 1), at(0, 2)])
    assert sequences(ring.batch(0, 50, ALL)[0].events) == ["1", "2", "3"]


def test_new_partitions_begin_at_their_first_record() -> None:
    ring = Ring(TOPIC, [4])
    ring.append([at(0, 4)])
    ring.add_partitions(3)
    ring.append([at(2, 0), at(0, 5)])
    assert (ring.start, ring.end) == ((4, 0, 0), [6, 0, 1])
    assert ring.number_after(padded((5,), 3)) == 1
    batch, _ = ring.batch(1, 50, ALL)
    assert [decode(each.cursor)[1] for each in batch.events] == [(5, 0, 1), (6, 0, 1)]


@pytest.mark.parametrize("seed", range(20))
def test_a_reader_of_any_other_process_sees_each_event_once(seed: int) -> None:
    """Two processes receive the partitions in different orders, and a reader changes from one to the other."""
    chance = random.Random(seed)
    orders = []
    for _ in range(2):
        queues = [[at(partition, offset) for offset in range(12)] for partition in range(3)]
        order: list[ConsumerRecord] = []
        while any(queues):
            order.append(chance.choice([queue for queue in queues if queue]).pop(0))
        orders.append(order)
    rings = []
    for order in orders:
        ring = Ring(TOPIC, [0, 0, 0])
        ring.append(order)
        rings.append(ring)
    every = sorted(itertools.product(range(3), range(12)))
    for stop in range(37):
        first, _ = rings[0].batch(0, 50, ALL)
        read = first.events[:stop]
        positions = decode(read[-1].cursor)[1] if read else (0, 0, 0)
        number = rings[1].number_after(positions)
        seen = [(record.partition, record.offset) for record in orders[0][:stop]]
        while number < rings[1].behind_last:
            batch, number, positions = rings[1].merge(number, 4, ALL, positions)
            for each in batch.events:
                reached = decode(each.cursor)[1]
                assert sum(reached) == len(seen) + 1
                seen.append(next((p, n) for p, n in every if n == reached[p] - 1 and (p, n) not in seen))
        assert sorted(seen) == every
        assert positions == (12, 12, 12)
