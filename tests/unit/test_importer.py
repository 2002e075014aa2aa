"""The import without a database: blocks of lines, the order of rows and results, faults that pass or stay."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import pytest

from app.integration.file_rows import LONGEST_ROW, csv_reader, ndjson_reader
from app.operations import importer as importer_module
from app.operations.importer import Importer, RowResult
from app.operations.line_source import BLOCK, LineSource
from app.service_layer.handlers import COMMAND_HANDLERS
from app.service_layer.messagebus import MessageBus
from app.service_layer.ports import TemporarilyUnavailableError
from app.service_layer.requests import RetryPolicy
from tests.support.fakes import InMemoryStore
from tests.support.messages import Pauses


class Intake:
    """An import into a store in memory."""

    def __init__(self, *, lanes: int = 2, group_limit: int = 10) -> None:
        self.store = InMemoryStore()
        self.stopping = asyncio.Event()
        retry = RetryPolicy(attempts=1, sleep=Pauses())
        bus = MessageBus(self.store.unit_of_work, COMMAND_HANDLERS, retry=retry)
        self.importer = Importer(bus, ndjson_reader(), lanes=lanes, group_limit=group_limit, stopping=self.stopping)

    async def run(self, *lines: str, first_row: int = 1) -> list[RowResult]:
        return await self.importer.run(first_row, [line.encode() for line in lines])


def batch(ref: str, sku: str, qty: int) -> str:
    return f'{{"ref":"{ref}","sku":"{sku}","qty":{qty}}}'


def line(order_id: str, sku: str, qty: int, wish: str = "backorder") -> str:
    return f'{{"order_id":"{order_id}","sku":"{sku}","qty":{qty},"if_unavailable":"{wish}"}}'


async def test_each_row_has_its_outcome_and_its_reason() -> None:
    results = await Intake().run(
        batch("b1", "CHAIR", 5),
        line("o1", "CHAIR", 4),
        line("o2", "CHAIR", 4),
        "",
        "{}",
        line("o3", "CHAIR", 4, "reject"),
        line("o1", "CHAIR", 4),
        line("o2", "CHAIR", 4),
        line("o1", "CHAIR", 1),
        line("o4", "TABLE", 1),
        batch("b1", "CHAIR", 5),
        batch("b1", "CHAIR", 6),
        first_row=2,
    )

    assert [(result.row, result.key, result.outcome) for result in results] == [
        (2, "b1", "recorded"),
        (3, "o1/CHAIR", "allocated"),
        (4, "o2/CHAIR", "backordered"),
        (6, "", "invalid-row"),
        (7, "o3/CHAIR", "out-of-stock"),
        (8, "o1/CHAIR", "known"),
        (9, "o2/CHAIR", "known"),
        (10, "o1/CHAIR", "allocation-conflict"),
        (11, "o4/TABLE", "invalid-sku"),
        (12, "b1", "known"),
        (13, "b1", "batch-conflict"),
    ]
    details = {result.row: result.detail for result in results}
    assert (details[3], details[8], details[9], details[11]) == (
        "b1",
        "allocated b1",
        "backordered",
        "Invalid sku TABLE",
    )
    assert [result.row for result in results if result.failed] == [6, 7, 10, 11, 13]


async def test_rows_of_one_sku_run_in_their_order_and_results_stand_in_that_of_the_rows() -> None:
    intake = Intake(lanes=3, group_limit=2)
    skus = [f"SKU-{number}" for number in range(9)]
    rows = [line(f"o{number}", skus[number % 9], 1) for number in range(90)]

    results = await intake.run(*(batch(f"b-{sku}", sku, 5) for sku in skus), *rows)

    assert [result.row for result in results] == list(range(1, 100))
    assert [result.outcome for result in results] == ["recorded"] * 9 + ["allocated"] * 45 + ["backordered"] * 45


async def test_rows_share_units_of_work_up_to_the_limit() -> None:
    intake = Intake(lanes=1, group_limit=10)

    await intake.run(batch("b1", "CHAIR", 5), *(line(f"o{number}", "CHAIR", 1) for number in range(24)))

    assert intake.store.commits == 3


async def test_a_fault_that_passes_is_waited_out_and_no_row_overtakes_another() -> None:
    intake = Intake(lanes=1, group_limit=2)
    intake.store.faults = [TemporarilyUnavailableError("away"), TemporarilyUnavailableError("away"), None]
    rows = [batch("b1", "CHAIR", 2), *(line(f"o{number}", "CHAIR", 1) for number in range(4))]

    results = await intake.run(*rows)

    assert [result.outcome for result in results] == [
        "recorded",
        "allocated",
        "allocated",
        "backordered",
        "backordered",
    ]


async def test_a_group_that_takes_too_long_is_halved() -> None:
    intake = Intake(lanes=1, group_limit=4)
    intake.store.faults = [TemporarilyUnavailableError("slow", timed_out=True)]

    results = await intake.run(batch("b1", "CHAIR", 5), *(line(f"o{number}", "CHAIR", 1) for number in range(3)))

    assert [result.failed for result in results] == [False] * 4
    assert intake.store.commits == 2


async def test_a_row_that_fails_for_a_fault_of_ours_fails_alone() -> None:
    intake = Intake(lanes=1)
    # The group, and the second of its rows.
    intake.store.faults = [RuntimeError("a fault"), None, RuntimeError("a fault")]

    results = await intake.run(batch("b1", "CHAIR", 5), line("o1", "CHAIR", 1), line("o2", "CHAIR", 1))

    assert [result.outcome for result in results] == ["recorded", "failed", "allocated"]
    assert (results[1].detail, results[1].failed) == ("RuntimeError('a fault')", True)


async def test_a_database_that_stays_away_ends_the_import(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importer_module, "OUTAGE_LIMIT", 0.0)
    intake = Intake()
    intake.store.faults = [TemporarilyUnavailableError("away")] * 100

    with pytest.raises(TemporarilyUnavailableError, match="run the import again"):
        await intake.run(batch("b1", "CHAIR", 5))


async def test_who_stops_it_does_not_wait_for_a_database_that_is_away() -> None:
    intake = Intake()
    intake.store.faults = [TemporarilyUnavailableError("away")] * 100
    intake.stopping.set()

    with pytest.raises(TemporarilyUnavailableError):
        await intake.run(batch("b1", "CHAIR", 5))


# --- lines -----------------------------------------------------------------------------------------------------------


async def blocks_of(content: bytes, directory: Path) -> list[list[bytes]]:
    file = directory / "rows"
    file.write_bytes(content)
    descriptor = os.open(file, os.O_RDONLY)
    try:
        source = LineSource(descriptor, asyncio.Event())
        found = [block async for block in source.blocks()]
    finally:
        os.close(descriptor)
    assert (source.size, source.position, source.has_ended) == (len(content), len(content), True)
    return found


def joined(blocks: Iterable[list[bytes]]) -> list[bytes]:
    return [row for block in blocks for row in block]


@pytest.mark.parametrize("end", [b"", b"\n"])
async def test_lines_are_cut_at_line_feeds_wherever_a_block_ends(tmp_path: Path, end: bytes) -> None:
    rows = [b"x" * (number % 700) for number in range(1000)] + [b"last"]

    blocks = await blocks_of(b"\n".join(rows) + end, tmp_path)

    assert joined(blocks) == rows
    assert max(sum(map(len, block)) for block in blocks) <= BLOCK + 700


async def test_nothing_has_no_lines(tmp_path: Path) -> None:
    assert joined(await blocks_of(b"", tmp_path)) == []


async def test_of_a_line_without_an_end_only_enough_is_kept_to_refuse_it(tmp_path: Path) -> None:
    first, endless, last = joined(await blocks_of(b"first\n" + b"x" * 10 * BLOCK + b"\nlast", tmp_path))

    assert (first, last) == (b"first", b"last")
    assert LONGEST_ROW < len(endless) <= LONGEST_ROW + 2 + BLOCK


@pytest.fixture
async def pipe() -> AsyncIterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        try:
            os.close(end)
        except OSError:
            continue


async def test_a_pipe_gives_what_has_come_and_ends_with_its_writer(pipe: tuple[int, int]) -> None:
    source = LineSource(pipe[0], asyncio.Event())
    blocks = source.blocks()

    os.write(pipe[1], b"one\ntwo\nthr")
    assert await anext(blocks) == [b"one", b"two"]
    os.write(pipe[1], b"ee\nfour")
    assert await anext(blocks) == [b"three"]
    os.close(pipe[1])
    assert await anext(blocks) == [b"four"]
    assert await anext(blocks, None) is None
    assert source.has_ended
    assert source.size is None


async def test_who_waits_for_a_pipe_can_be_stopped(pipe: tuple[int, int]) -> None:
    stopping = asyncio.Event()
    source = LineSource(pipe[0], stopping)
    waiting = asyncio.create_task(anext(source.blocks(), None))
    await asyncio.sleep(0)

    stopping.set()

    assert await waiting is None
    assert not source.has_ended


async def test_a_reader_of_csv_reads_what_the_importer_hands_it() -> None:
    intake = Intake()
    intake.importer = Importer(
        MessageBus(intake.store.unit_of_work, COMMAND_HANDLERS),
        csv_reader(b"ref,sku,qty"),
        lanes=1,
        group_limit=10,
        stopping=intake.stopping,
    )

    assert [result.outcome for result in await intake.run("b1,CHAIR,5\r", "\r", "b2,CHAIR,x")] == [
        "recorded",
        "invalid-row",
    ]


async def test_counts_have_outcomes_and_can_be_repeated() -> None:
    intake = Intake()
    rows = [
        '{"sku":"CHAIR","on_hand_qty":0}',
        '{"sku":"CHAIR","on_hand_qty":5}',
        line("o1", "CHAIR", 4),
        '{"sku":"CHAIR","on_hand_qty":3,"expected_on_hand_qty":5}',
        '{"sku":"CHAIR","on_hand_qty":2,"expected_on_hand_qty":5}',
        batch("b1", "TABLE", 5),
        '{"ref":"b1","on_hand_qty":4,"shipped_qty":2}',
        '{"ref":"b1","on_hand_qty":2147483647,"shipped_qty":2}',
        '{"ref":"b2","on_hand_qty":4}',
    ]

    results = await intake.run(*rows)

    assert [(result.key, result.outcome) for result in results] == [
        ("CHAIR", "product-not-found"),
        ("CHAIR", "counted"),
        ("o1/CHAIR", "allocated"),
        ("CHAIR", "counted"),
        ("CHAIR", "quantity-changed"),
        ("b1", "recorded"),
        ("b1", "counted"),
        ("b1", "quantity-too-large"),
        ("b2", "batch-not-found"),
    ]
    assert [result.detail for result in results if result.outcome == "counted"] == ["", "moved: 1", ""]
    assert [result.failed for result in results].count(True) == 4
    assert intake.store.tables.batches["b1"].qty == 6
    counts = [row for row in rows if '"ref":"b1","on' in row]
    before = intake.store.tables
    await intake.run(*counts)
    assert intake.store.tables == before


@pytest.mark.parametrize("number", range(20))
async def test_a_count_of_a_batch_keeps_its_place_among_the_rows_of_its_product(number: int) -> None:
    intake = Intake(lanes=8, group_limit=1)

    results = await intake.run(
        batch(f"b{number}", "CHAIR", 5), f'{{"ref":"b{number}","on_hand_qty":3}}', line("o1", "CHAIR", 4)
    )

    assert [result.outcome for result in results] == ["recorded", "counted", "backordered"]
