"""Messages that are delivered several times."""

import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from faults.actors import SKUS
from faults.foreign import Sender
from faults.handled import Handled
from faults.journal import Entry
from faults.load import as_record
from faults.rounds import Fault, Round
from faults.topics import message_id, read_topic
from faults.trial import STOP_SECONDS

TIMES = 3
LATE_SHARE = 0.5


class _Doubled(Handled):
    """Sends every message twice at once, under two keys, so two consumers may handle it at the same time."""

    def __init__(self, this: Round, since: float) -> None:
        """Store the configuration."""
        super().__init__(this, since)
        self._random = random.Random(f"{this.plan.seed} repeats")

    def keys(self, _: Entry) -> Sequence[str]:
        """Any key: the data has the subject of a record."""
        return [self._random.choice(SKUS)]


def triple(this: Round) -> None:
    """Every inbound message is sent three times: twice at once under two keys, and later under any key."""
    with _Doubled(this, time.time()) as doubled, Sender(this.bootstrap, this.inbound_topic) as sender:
        this.load.repeats = doubled
        late: Counter[str] = Counter()
        while this.journal.settled < this.plan.commands and this.load.running:
            time.sleep(0.5)
            # Some handled messages are repeated now, others later; the oldest may be last.
            known = [entry for entry in _messages(this) if entry.id in doubled.received and not late[entry.id]]
            _again(this, sender, this.random.sample(known, int(LATE_SHARE * len(known))), late)
        this.load.stop(seconds=STOP_SECONDS)
        for _ in range(TIMES):
            # Messages from before the fault need two repeats.
            sent = Counter(message_id(message) for message in read_topic(this.bootstrap, this.inbound_topic))
            _again(this, sender, [entry for entry in _messages(this) if sent[entry.id] < TIMES], late)
    sent = Counter(message_id(message) for message in read_topic(this.bootstrap, this.inbound_topic))
    fewer = [ce_id for ce_id, times in sent.items() if times < TIMES]
    this.check(not fewer, f"{len(fewer)} messages were not sent {TIMES} times; {fewer[:3]}")
    counted = Counter(sent.values())
    this.say(f"messages by how often they were sent: {dict(counted)}; {len(late)} of them later, under any key")


def _messages(this: Round) -> list[Entry]:
    return [entry for entry in list(this.journal.entries) if entry.via == "kafka" and entry.final is not None]


def _again(this: Round, sender: Sender, entries: Sequence[Entry], late: Counter[str]) -> None:
    shuffled = this.random.sample(entries, len(entries))
    sender.send([replace(as_record(entry), key=this.random.choice(SKUS).encode()) for entry in shuffled])
    late.update(entry.id for entry in shuffled)


FAULTS: dict[str, Fault] = {
    "triple": Fault(triple),
}
