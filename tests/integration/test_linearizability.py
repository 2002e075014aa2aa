"""The outside judge accepts right histories, and refuses each that is not. Without Go these tests are skipped."""

import asyncio
import copy
import functools
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest

from app.domain import counts
from app.domain.batches import Batches
from app.domain.choice import ANY_BATCH, Requirements
from app.domain.product import Product
from app.domain.stock import Batch, StockLevel
from faults.history import operations
from faults.journal import Answer, Read
from faults.outside_judge import rule
from faults.story import Event, Story
from faults.wording import Fields
from tests.support.operations import (
    SECOND,
    allocated,
    cancelled,
    created,
    held,
    op,
    queued,
    read,
    reordered,
    unanswered,
    verdict,
)
from tests.support.stories import entry
from tests.support.theatre import ANSWER_SECONDS, Theatre

TURNS = 160
COUNTS = {"count_product", "set_reorder_point"}
EMPTY = {"available": 0, "allocated": 0, "shipped": 0, "held": 0}


@pytest.mark.parametrize(
    "history",
    [
        pytest.param([created(1, 2), allocated(3, 4, "o1", 6), read(5, 6, 6)], id="one after the other"),
        pytest.param(
            [created(1, 2), queued(3, 9, "o1", 6), allocated(4, 8, "o2", 5)], id="the second request was first"
        ),
        pytest.param([created(1, 2), read(3, 6, 6), read(4, 5, 0), allocated(3, 7, "o1", 6)], id="read meanwhile"),
        pytest.param([created(1, 2), unanswered(3, "o1", 6), read(4, 5, 0), read(6, 7, 6)], id="unknown, it came"),
        pytest.param([created(1, 2), unanswered(3, "o1", 6), read(4, 5, 0), read(6, 7, 0)], id="unknown, never came"),
        pytest.param(
            [created(1, 2), allocated(3, 4, "o1", 9), queued(5, 6, "o2", 5), cancelled(7, 8, "o1"), read(9, 10, 5)],
            id="the queue is served",
        ),
        pytest.param(
            [
                created(1, 2),
                held(3, 3.1, "o1", 6),
                read(4.2, 4.3, 6, held=6),
                op("expire", 4, 5, orders=["o1"]),
                read(5.1, 5.2, 0),
            ],
            id="a read may show a hold until its end is published",
        ),
    ],
)
def test_accepts_what_can_have_happened_in_some_order(program: Path, history: list[Fields]) -> None:
    assert verdict(program, *history) == "ok"


@pytest.mark.parametrize(
    "history",
    [
        pytest.param([created(1, 2), allocated(3, 4, "o1", 6), read(5, 6, 0)], id="a stale read"),
        pytest.param([created(1, 2), unanswered(3, "o1", 6), read(4, 5, 6), read(6, 7, 0)], id="a read that goes back"),
        pytest.param(
            [created(1, 2), allocated(3, 5, "o1", 2), allocated(4, 6, "o2", 3), read(7, 8, 3)], id="a lost update"
        ),
        pytest.param(
            [created(1, 2), op("change_batch", 3, 4, {"status": 200}, ref="b1", qty=20), read(5, 6, 0)],
            id="a lost change of a batch",
        ),
        pytest.param([created(1, 2), allocated(3, 9, "o1", 6), allocated(4, 8, "o2", 6)], id="more than the batch has"),
        pytest.param(
            [created(1, 2), allocated(3, 4, "o1", 6), allocated(5, 6, "o2", 4), allocated(7, 8, "o3", 1)],
            id="more than the batch has, without overlap",
        ),
        pytest.param([created(1, 2), created(1, 2, "b2"), allocated(3, 4, "o1", 6, "b3")], id="a batch from nowhere"),
        pytest.param(
            [created(1, 2), created(3, 4, "b2"), allocated(5, 6, "o1", 6, "b2")], id="not the preferred batch"
        ),
        pytest.param(
            [
                created(1, 2),
                allocated(3, 4, "o1", 9),
                queued(5, 6, "o2", 5),
                queued(7, 8, "o3", 6),
                cancelled(9, 10, "o1"),
                read(11, 12, 6, waiting=5),
            ],
            id="the younger line first",
        ),
        pytest.param([created(1, 2), queued(3, 4, "o1", 6)], id="it waits, and there is stock"),
        pytest.param([created(1, 2), queued(3, 4, "o1", 11), cancelled(5, 6, "o1"), cancelled(7, 8, "o1")], id="twice"),
        pytest.param(
            [created(1, 2), held(3, 3.1, "o1", 6), allocated(5, 6, "o1", 6)], id="a hold confirmed after its end"
        ),
        pytest.param([created(1, 2), held(3, 3.1, "o1", 6), op("expire", 3.2, 3.5, orders=["o1"])], id="ended early"),
    ],
)
def test_refuses_what_cannot_have_happened_in_any_order(program: Path, history: list[Fields]) -> None:
    assert verdict(program, *history) == "illegal"


def test_says_what_fits_and_what_does_not(program: Path) -> None:
    ruling = rule(program, [created(1, 2), allocated(3, 4, "o1", 6), read(5, 6, 0)], 5)

    (complaint,) = ruling.violations
    assert "2 of its 3 operations fit" in complaint
    assert 'its answer would have the batch {"allocated":6' in complaint


def test_does_not_believe_the_order_of_the_events(program: Path) -> None:
    first = [created(1, 2) | {"rank": 1}, allocated(3, 4, "o1", 6) | {"rank": 2}]

    # The sequences say that the batch was recorded last, but its answer came first.
    assert verdict(program, *first) == "ok"
    assert verdict(program, first[0] | {"rank": 2}, first[1] | {"rank": 1}) == "disordered"
    assert verdict(program, *first, read(5, 6, 0)) == "illegal"


def test_does_not_call_a_history_right_for_want_of_time(program: Path) -> None:
    # There are too many orders of the unanswered requests.
    unknown = [unanswered(3, f"o{number}", 1) for number in range(40)]

    assert verdict(program, created(1, 2), *unknown, read(4, 5, 11, qty=12), seconds=0.1) == "unknown"


def without_effect(call: float, end: float, order: str) -> Fields:
    """A message that cancels a line, and changed nothing."""
    return op("cancel", call, end, order=order) | {"effects": []}


def test_many_messages_without_effect_do_not_make_the_search_long(program: Path) -> None:
    # The one that sets 3 is called first and has to be placed last: the search comes back past all messages.
    history = [created(1, 2), reordered(3, 50, 3), reordered(4, 50, 0)]
    history += [without_effect(5 + number / 10, 50, f"o{number}") for number in range(40)]
    reading = read(60, 61, 0)
    reading["answer"]["product"]["reorder_point"] = 3

    assert verdict(program, *history, reading) == "ok"
    reading["answer"]["product"]["reorder_point"] = 2
    assert verdict(program, *history, reading, seconds=0.5) != "ok"


def test_refuses_a_message_that_has_lost_its_effect(program: Path) -> None:
    history = [created(1, 2), allocated(3, 4, "o1", 6), read(9, 10, 6)]

    assert verdict(program, *history, without_effect(2, 6, "o1")) == "ok"
    assert verdict(program, *history, without_effect(5, 6, "o1")) == "illegal"


@functools.cache
def played(seed: int) -> Story:
    return asyncio.run(Theatre(seed).play(TURNS))


def history_of(story: Story, *reads: Read) -> list[Fields]:
    return operations(story, reads, {event.id: event.created + ANSWER_SECONDS for event in story.events})


@pytest.mark.parametrize("seed", [1, 7])
def test_accepts_what_the_use_cases_do(program: Path, seed: int) -> None:
    history = history_of(played(seed))

    ruling = rule(program, history, 20)

    assert ruling.violations + ruling.unknown == []
    assert {each["kind"] for each in history} >= {"place", "hold", "replace", "no_room", "expire", "absent", *COUNTS}


def test_refuses_a_round_of_which_one_answer_is_changed(program: Path) -> None:
    history = history_of(played(1))
    changed = [number for number, each in enumerate(history) if (each["answer"] or {}).get("line")]
    for number in changed[:: len(changed) // 4]:
        spoilt = copy.deepcopy(history)
        spoilt[number]["answer"]["line"]["batch"] += "x"

        sku = spoilt[number]["sku"]
        ruling = rule(program, [each for each in spoilt if each["sku"] == sku], 1)

        assert len(ruling.violations) == 1, spoilt[number]


def test_refuses_a_read_of_a_round_that_is_stale(program: Path) -> None:
    story = played(1)
    line = next(each for each in story.lines.values() if each.status == "allocated")
    end = story.now + 10

    def ask(body: list[Fields] | None) -> list[str]:
        last = Read("last", Answer(end, end + 1, 200 if body else 404, body), order_id=line.order_id)
        history = [each for each in history_of(story, last) if each["sku"] == line.sku]
        return rule(program, history, 20).violations

    now = {"sku": line.sku, "qty": line.qty, "status": "allocated", "batch_ref": line.batch_ref, "held_until": None}
    assert ask([now]) == []
    assert ask(None)
    assert ask([now | {"batch_ref": None, "status": "backordered"}])


def test_a_key_repeats_the_answer_of_an_earlier_attempt(program: Path) -> None:
    def line(order: str, qty: int) -> Fields:
        return {"order_id": order, "sku": "CHAIR", "qty": qty, "if_unavailable": "reject"}

    def event(sequence: int, type_: str, cause: str, **data: Any) -> Event:
        return Event(f"e{sequence}", type_, "CHAIR", sequence, {"sku": "CHAIR", **data}, cause)

    batch = {"sku": "CHAIR", "qty": 10, "eta": None}
    # The second batch comes after the attempt that was refused, and before the one that was answered.
    refused = entry("c2", "allocate", line("o1", 11), (None, None))
    larger = entry("c3", "create_batch", {**batch, "ref": "b2", "qty": 20}, (201, None))
    again = entry("c2", "allocate", line("o1", 11), (409, {"code": "out-of-stock"}))
    first = entry("c1", "create_batch", {**batch, "ref": "b1"}, (201, None))
    first.answers[0] = Answer(0, refused.answers[0].sent, 201)
    refused.answers += again.answers
    events = [
        event(1, "batch_created.v1", "c1", ref="b1", qty=10, eta=None),
        event(2, "allocation_failed.v1", "c2", order_id="o1", qty=11, reason="out_of_stock"),
        event(3, "batch_created.v1", "c3", ref="b2", qty=20, eta=None),
    ]
    story = Story([first, refused, larger], events)

    assert verdict(program, *operations(story, [], {})) == "illegal"
    refused.idempotency_key = "key"
    assert verdict(program, *operations(story, [], {})) == "ok"


def test_the_next_record_of_a_partition_ends_a_message_without_effect() -> None:
    def ends(places: dict[str, str], *restored: str) -> list[int | None]:
        asked = {"order_id": "o1", "sku": "CHAIR", "qty": 1}
        entries = [entry(name, "allocate", asked, (200, None), via="kafka") for name in ("k1", "k2")]
        data = {"sku": "CHAIR", "order_id": "o1", "qty": 1}
        story = Story(entries, [Event("e1", "line_backordered.v1", "CHAIR", 1, data, "k2")], inbound_places=places)
        story.restored = set(restored)
        return [each["return"] for each in operations(story, [], {"e1": 7.0})]

    assert ends({"in[0]@1": "k1", "in[0]@2": "k2"}) == [7 * SECOND, 7 * SECOND]
    assert ends({"in[0]@2": "k1", "in[0]@1": "k2"}) == [None, 7 * SECOND]
    # A message that was a dead letter took effect when it was retried.
    assert ends({"in[0]@1": "k1", "in[0]@2": "k2"}, "k1") == [None, 7 * SECOND]
    # The other record of the second message may have been the first one that was read.
    assert ends({"in[0]@1": "k1", "in[0]@2": "k2", "in[1]@1": "k2"}) == [None, 7 * SECOND]


best, serve, cut = Batches.best, Product.serve_backorders, counts._cut


def without_wishes(batches: Batches, qty: int, _: Requirements = ANY_BATCH) -> Batch | None:
    return best(batches, qty)


def serve_the_last_first(product: Product, keys: Iterable[str]) -> None:
    serve(product, reversed(list(keys)))


def cut_the_first_first(batches: Sequence[Batch], lost: int) -> list[tuple[Batch, int]]:
    return cut(batches[::-1], lost)


@pytest.mark.parametrize(
    ("owner", "method", "spoilt"),
    [
        (Batches, "best", without_wishes),
        (Product, "serve_backorders", serve_the_last_first),
        (counts, "_cut", cut_the_first_first),
        (StockLevel, "is_low", property(lambda _: False)),
    ],
)
def test_refuses_what_the_use_cases_do_wrong(
    program: Path, owner: object, method: str, spoilt: Callable[..., object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owner, method, spoilt)
    story = asyncio.run(Theatre(1).play(TURNS))

    assert rule(program, history_of(story), 1).violations
