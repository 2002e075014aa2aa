"""Records that are not messages, and messages that fail permanently until the cause is fixed."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from app.adapters.postgresql.messages import decode_headers
from faults import delays
from faults.actors import HOT, SKUS
from faults.delays import Span
from faults.foreign import Place, Record, Sender
from faults.journal import Answer, Entry
from faults.load import as_record
from faults.poison import POISON
from faults.rounds import Fault, Round
from faults.topics import OTHER_CONTENT
from faults.trial import RECOVERY_LIMIT

LETTER_SECONDS = 20.0
MARK = "fixed-"
REFUSAL = "no such orders for the moment"
CONTRADICTION = "contradiction"
FAILURE, MISTAKE = 1, 2
"""Exit statuses of the command line: a letter could not be restored, and a letter does not exist."""

LETTERS = 'SELECT id, partition, "offset", message_id, key, value, headers::text, reason, attempts FROM dead_letters'


@dataclass(frozen=True, slots=True)
class _Sent:
    """A record that must be a dead letter: its content, and its expected reason."""

    name: str
    record: Record
    place: Place
    reason: str
    message_id: str | None


def poison(this: Round) -> None:
    """At least one record in a hundred is poison, and some messages fail for a cause that is fixed later."""
    before = Span(time.time(), time.time() + this.plan.of(40, 5))
    time.sleep(before.end - time.time())
    _refuse_orders(this)
    start = time.time()
    bad, mendable = _send_all(this)
    meanwhile = Span(start, time.time())
    count = len(bad) + len(mendable)
    letters = "SELECT count(*) FROM dead_letters"
    this.wait_for(lambda: this.database.total(letters) >= count, LETTER_SECONDS, f"{count} dead letters")
    _check_letters(this, [*bad, *mendable], attempts=1)
    _retry(this, bad, mendable)
    this.recovered(time.time(), RECOVERY_LIMIT)
    good = len({entry.id for entry, _ in this.journal.answers() if _is_good(entry, meanwhile)})
    share = f"{len(bad)} records of poison and {len(mendable)} messages that failed among {good} good ones"
    this.say(share)
    this.check(len(bad) >= good / 100, f"{share}: less than 1%")
    _check_delays(this, before, meanwhile)


def _is_good(entry: Entry, span: Span) -> bool:
    return entry.via == "kafka" and entry.answers[0].sent in span and not entry.id.startswith(MARK)


def _send_all(this: Round) -> tuple[list[_Sent], list[_Sent]]:
    """Send poison of every kind and failing orders, mixed and spread over the round."""
    kinds = [*POISON, CONTRADICTION] * this.plan.of(4, 1)
    deeds: list[tuple[int, str | None]] = list(enumerate([*kinds, *[None] * this.plan.of(12, 4)]))
    this.random.shuffle(deeds)
    pause = this.plan.of(90, 7) / len(deeds)
    bad, mendable = [], []
    with Sender(this.bootstrap, this.inbound_topic) as sender:
        for number, kind in deeds:
            if kind is None:
                mendable.append(_order(this, sender, f"{MARK}{number}"))
            elif kind == CONTRADICTION:
                bad.append(_contradiction(this, sender, f"{kind}.{number}"))
            else:
                bad.append(_poisonous(this, sender, f"{kind}.{number}", kind))
            time.sleep(pause)
    return bad, mendable


def _poisonous(this: Round, sender: Sender, name: str, kind: str) -> _Sent:
    known = POISON[kind]
    # Under the keys of all SKUs, so that every consumer gets some.
    record = replace(known.record(name), key=this.random.choice([None, *(sku.encode() for sku in SKUS)]))
    (place,) = sender.send([record])
    return _Sent(name, record, place, known.reason, name if known.has_id else None)


def _contradiction(this: Round, sender: Sender, name: str) -> _Sent:
    """A record with the source and id of a handled message, and other content."""
    received = _inbox(this)
    entry = this.random.choice([each for each in list(this.journal.entries) if each.id in received])
    record = as_record(entry, contradiction=name)
    record = replace(record, headers=[*record.headers, (OTHER_CONTENT, b"1")])
    (place,) = sender.send([record])
    return _Sent(name, record, place, "belongs to another message", entry.id)


def _order(this: Round, sender: Sender, name: str) -> _Sent:
    """An order that the database refuses for now; the oracle expects it to take effect once."""
    sku = this.random.choice([HOT, *SKUS[:6]])
    entry = Entry(name, "fixed", "kafka", "allocate", {"order_id": name, "sku": sku, "qty": 1})
    record = as_record(entry)
    this.journal.begin(entry)
    sent = time.time()
    (place,) = sender.send([record])
    this.journal.note(entry, Answer(sent, time.time(), 200))
    return _Sent(name, record, place, REFUSAL, name)


def _refuse_orders(this: Round) -> None:
    """Make the database refuse orders with the mark permanently, like an added constraint."""
    this.database.ask(
        f"""CREATE FUNCTION refuse_order() RETURNS trigger LANGUAGE plpgsql
            AS $$ BEGIN RAISE EXCEPTION '{REFUSAL}' USING ERRCODE = 'check_violation'; END $$"""
    )
    this.database.ask_each(
        f"""CREATE TRIGGER refuse_order BEFORE INSERT ON order_lines FOR EACH ROW
            WHEN (NEW.order_id LIKE '{MARK}%') EXECUTE FUNCTION refuse_order()"""
    )


def _check_letters(this: Round, wanted: Sequence[_Sent], *, attempts: int) -> None:
    """Each record is stored once with its bytes, headers, id and reason; and no other record is."""
    found: dict[Place, list[tuple[object, ...]]] = {}
    for _, partition, offset, *letter in this.database.ask_each(LETTERS):
        found.setdefault(Place(partition, offset), []).append(tuple(letter))
    for sent in wanted:
        letters = found.pop(sent.place, [])
        this.check(len(letters) == 1, f"{sent.name} is in the dead letters {len(letters)} times")
        for message_id, key, value, headers, reason, times in letters:
            same = (key, value, _decoded(str(headers))) == (sent.record.key, sent.record.value, _encoded(sent.record))
            this.check(same, f"the letter of {sent.name} is not the record: {key!r}, {str(value)[:80]}, {headers}")
            this.check(message_id == sent.message_id, f"the letter of {sent.name} bears the id {message_id!r}")
            this.check(sent.reason in str(reason), f"the letter of {sent.name} says {str(reason)[:200]!r}")
            this.check(times == attempts, f"{sent.name} was given up {times} times, not {attempts}")
    this.check(not found, f"records in the dead letters were never sent: {list(found)[:5]}")


def _decoded(headers: str) -> list[tuple[bytes, bytes | None]]:
    pairs = decode_headers(json.loads(headers))
    return [(name.encode(errors="surrogateescape"), value) for name, value in pairs]


def _encoded(record: Record) -> list[tuple[bytes, bytes | None]]:
    return [(name.encode() if isinstance(name, str) else name, value) for name, value in record.headers]


def _retry(this: Round, bad: Sequence[_Sent], mendable: Sequence[_Sent]) -> None:
    """Retry before and after the cause is fixed, like an operator; a further retry does no harm."""
    everything = [*bad, *mendable]
    if not this.plan.short:
        lines = this.stack.command("dead-letters", "list").stdout.splitlines()
        this.check(len(lines) == len(everything), f"{len(lines)} letters are listed, not {len(everything)}")
    _expect(this, ["retry"], FAILURE, restored=0)
    _check_letters(this, everything, attempts=2)
    this.database.ask_each("DROP TRIGGER refuse_order ON order_lines")
    places = {sent.place for sent in mendable}
    ids = [str(id_) for id_, *place, _, _, _, _, _, _ in this.database.ask_each(LETTERS) if Place(*place) in places]
    _expect(this, ["retry", *ids], 0, restored=len(mendable))
    this.changes.restored |= {sent.name for sent in mendable}
    _check_letters(this, bad, attempts=2)
    if not this.plan.short:
        _expect(this, ["retry", *ids], MISTAKE, restored=0)
    accepted = _inbox(this)
    for sent in mendable:
        this.check(sent.name in accepted, f"{sent.name} was restored and has not taken effect")
    this.say(f"{len(mendable)} letters restored, {len(bad)} kept")


def _expect(this: Round, arguments: Sequence[str], status: int, *, restored: int) -> None:
    done = this.stack.command("dead-letters", *arguments)
    count = done.stdout.count(" restored: ")
    said = f"dead-letters {arguments[0]} ended with {done.returncode}, {count} restored: {done.stderr[-500:]}"
    this.check((done.returncode, count) == (status, restored), said)


def _inbox(this: Round) -> Mapping[str, float]:
    return this.database.received_since(0.0)


def _check_delays(this: Round, before: Span, meanwhile: Span) -> None:
    """The rest of the traffic is as fast as just before, over both ways."""
    answers, arrivals = list(this.journal.answers(before.start)), this.watcher.arrivals(before.start)
    measured = {
        "messages": [delays.messages(answers, arrivals, span) for span in (before, meanwhile)],
        "requests": [delays.requests(answers, span) for span in (before, meanwhile)],
    }
    for what, (was, became) in measured.items():
        this.say(f"{what} took {was} before, {became} among poison")
        for complaint in delays.complaints(what, was, became):
            this.check_time(False, complaint)  # noqa: FBT003 - see `check`


FAULTS: dict[str, Fault] = {
    "poison": Fault(poison),
}
