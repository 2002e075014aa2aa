"""Collects the story of a finished round: topics, the read side over HTTP, inbox, outbox and dead letters."""

import asyncio
import dataclasses
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from faults.client import Connection, NoAnswerError
from faults.database import Database
from faults.journal import Entry
from faults.story import BatchSeen, CartSeen, Event, LineSeen, OrderSeen, ProductSeen, Story
from faults.topics import message_id, place_of, read_topic, to_event

OUTBOX_SECONDS = 30.0
INBOUND_SECONDS = 30.0
HOLD_SECONDS = 30.0
HORIZON_SECONDS = 60
READ_PER_SECOND = 200
"""No hold may end while the read side is read. The load's holds last some seconds, or ten minutes."""

RECENT = "received_at > now() - interval '1 day'"

POLL_SECONDS = 0.05
READERS = 8
OK, MISSING = 200, 404
DELETED = 1000
"""Partitions of deleted topics have larger numbers."""

WHOLE = {"place_order", "hold_order", "check_out"}
"""Commands whose order is read as a whole."""

Seen = TypeVar("Seen", BatchSeen, CartSeen, LineSeen, OrderSeen, ProductSeen)


@dataclass
class Changes:
    """What the fault did to topics and messages.

    `inbound` and `events` are the records of deleted topics. `moved`: subjects have moved to other partitions.
    `restored` are messages that were dead letters, and took effect when they were retried. `aged` are messages whose
    rows in the inbox got a time before the retention, so that the service may have deleted them.
    """

    inbound: dict[str, str] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    moved: bool = False
    restored: set[str] = field(default_factory=set)
    aged: list[str] = field(default_factory=list)

    def keep_inbound(self, messages: Mapping[str, str]) -> None:
        """Keep the messages of a topic that is going to be deleted, by other positions than those of its successor."""
        topic = f"deleted after {len(self.inbound)} messages"
        self.inbound |= {f"{topic}: {place}": ce_id for place, ce_id in messages.items()}

    def keep_events(self, events: Iterable[Event]) -> None:
        """Keep the events of a topic that is going to be deleted, in other partitions than those of its successor."""
        first = max((event.partition for event in self.events), default=DELETED) + 1
        self.events += [dataclasses.replace(event, partition=event.partition + first) for event in events]
        self.moved = True


def wait_for_quiet(
    database: Database, bootstrap: str, inbound_topic: str, changes: Changes, commands: int
) -> dict[str, str]:
    """Wait until all inbound messages are handled, all short holds over and all events published, or the time is over.

    Returns the inbound messages by the positions of their records, with those of deleted topics.
    """
    inbound = {**changes.inbound, **inbound_messages(bootstrap, inbound_topic)}
    missing = len(set(inbound.values())) - len(changes.aged)
    query = f"SELECT (SELECT count(*) FROM inbox WHERE {RECENT}) + (SELECT count(*) FROM dead_letters)"
    _poll(lambda: database.total(query) >= missing, INBOUND_SECONDS)
    horizon = max(HORIZON_SECONDS, commands / READ_PER_SECOND)
    holds = "SELECT count(*) FROM order_lines WHERE held_until < clock_timestamp() + make_interval(secs => $1)"
    _poll(lambda: database.total(holds, horizon) == 0, horizon + HOLD_SECONDS)
    _poll(lambda: database.total("SELECT count(*) FROM outbox") == 0, OUTBOX_SECONDS)
    return inbound


def inbound_messages(bootstrap: str, topic: str) -> dict[str, str]:
    """The messages of the topic by the positions of their records."""
    records = read_topic(bootstrap, topic)
    return {place_of(topic, each.partition(), each.offset()): message_id(each) for each in records}


def published_events(bootstrap: str, topic: str) -> list[Event]:
    """The events of the topic, those of a partition in their order."""
    return [to_event(message) for message in read_topic(bootstrap, topic)]


def collect_story(
    entries: Sequence[Entry],
    database: Database,
    bootstrap: str,
    events_topic: str,
    inbound: Mapping[str, str],
    port: int,
    changes: Changes,
) -> Story:
    """All input of the oracle. The service must be idle."""
    events = [*changes.events, *published_events(bootstrap, events_topic)]
    story = Story(list(entries), events, inbound=list(inbound.values()), inbound_places=inbound, moved=changes.moved)
    story.restored = changes.restored
    story.now = database.ask("SELECT extract(epoch FROM clock_timestamp())::float8")[0][0]
    story.outbox = database.total("SELECT count(*) FROM outbox")
    # A message that took effect again after its row had aged would be here and there.
    handled = database.ask_each(f"SELECT message_id FROM inbox WHERE {RECENT}")
    story.inbox = [*changes.aged, *(row[0] for row in handled)]
    # A letter is identified by its position, because the service and this reader may decode its id differently.
    letters = database.ask_each('SELECT topic, partition, "offset" FROM dead_letters')
    story.dead = [inbound.get(place, place) for place in (place_of(*letter) for letter in letters)]
    asyncio.run(_read_side(story, port))
    return story


async def _read_side(story: Story, port: int) -> None:
    """All SKUs, orders and carts of the journal, with and without known state."""
    skus = {sku for entry in story.entries for sku in entry.skus}
    skus |= {event.data["sku"] for event in story.events if "sku" in event.data}
    orders = {entry.data["order_id"] for entry in story.entries if "order_id" in entry.data}
    orders |= {event.data["order_id"] for event in story.events if "order_id" in event.data}
    carts = {entry.data["cart_id"] for entry in story.entries if "cart_id" in entry.data}
    whole = {entry.data["order_id"] for entry in story.entries if entry.kind in WHOLE}
    questions = [f"/v1/products/{sku}" for sku in sorted(skus)]
    questions += [f"/v1/{'orders' if each in whole else 'allocations'}/{each}" for each in sorted(orders)]
    questions += [f"/v1/carts/{each}" for each in sorted(carts)]
    waiting = iter(questions)

    async def read() -> None:
        async with Connection(port) as connection:
            for path in waiting:
                _note(story, await _get(connection, path))

    async with asyncio.TaskGroup() as group:
        for _ in range(READERS):
            group.create_task(read())


async def _get(connection: Connection, path: str) -> Any:  # noqa: ANN401 - JSON
    """The response, None for 404. It is tried twice, because a persistent connection may have been closed."""
    for attempt in (1, 2):
        try:
            status, body = await connection.request("GET", path)
        except NoAnswerError:
            if attempt == 1:
                continue
            raise
        if status in {OK, MISSING}:
            return body if status == OK else None
        raise RuntimeError(f"{path} answered {status}: {body}")
    raise AssertionError


def _note(story: Story, body: Any) -> None:  # noqa: ANN401 - JSON
    if isinstance(body, dict) and "lines" in body:
        _note(story, body["lines"])
        story.orders[body["order_id"]] = _seen(OrderSeen, body)
    elif isinstance(body, dict) and "cart_id" in body:
        story.carts[body["cart_id"]] = _seen(CartSeen, body)
    elif isinstance(body, list):
        for line in body:
            story.lines[line["order_id"], line["sku"]] = _seen(LineSeen, line)
    elif body is not None:
        for batch in body["batches"]:
            story.batches[batch["ref"]] = _seen(BatchSeen, batch)
        story.products[body["sku"]] = _seen(ProductSeen, body)


def _seen(kind: type[Seen], body: Mapping[str, Any]) -> Seen:
    """The fields that the oracle compares; responses may have others, and leave out terms that are as usual."""
    terms = {"location", "best_before", "blocked"} - body.keys()
    return kind(**{field.name: body[field.name] for field in dataclasses.fields(kind) if field.name not in terms})


def _poll(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)  # poll
    return True
