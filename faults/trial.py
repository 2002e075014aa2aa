"""A trial: a seeded load on an installation, its records, and the verdicts of the oracle and the outside judge."""

import json
import random
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

from faults.actors import SKUS
from faults.database import Database
from faults.history import operations
from faults.journal import Journal
from faults.load import Load
from faults.observe import Changes, collect_story, wait_for_quiet
from faults.oracle import judge
from faults.outside_judge import rule
from faults.plan import Plan, Verdict
from faults.repertoire import EVERYTHING, Repertoire
from faults.story import Story
from faults.topics import Watcher
from faults.wording import Fields

Way = Literal["events", "inbound", "http"]

WARM_COMMANDS = 150
WARM_SECONDS = 60.0
POLL_SECONDS = 0.05
STOP_SECONDS = 300.0
USUAL, MOST_OF_A_SKU = 20_000, 20_000
"""Operations that the outside judge decides in its usual time, and of one SKU at most."""

MARGIN = 1.0
RECOVERY_LIMIT = 60.0
"""Seconds after which recovery has failed."""


@dataclass(frozen=True)
class Installation:
    """The addresses of a service on this machine; `http_ports` are the present ones, as a load balancer knows them."""

    http_ports: Callable[[], list[int]]
    dsn: str
    bootstrap: str
    inbound_topic: str
    events_topic: str
    cells: int = 1


class Trial:
    """The load on one installation. Use it as a context manager; then `perform`, `read`, `judge` and `verdict`."""

    def __init__(
        self, name: str, plan: Plan, installation: Installation, home: Path, repertoire: Repertoire = EVERYTHING
    ) -> None:
        """Journal and history are written to `home`; `repertoire` is what the clients do."""
        self.name = name
        self.plan = plan
        self.installation = installation
        self.home = home
        self.database = Database(installation.dsn, installation.cells)
        self.random = random.Random(f"{plan.seed} {name}")
        self.journal = Journal(home / "journal.jsonl")
        self.watcher = Watcher(installation.bootstrap, installation.events_topic)
        self.load = Load(
            self.journal,
            installation.http_ports,
            installation.bootstrap,
            installation.inbound_topic,
            plan.pace,
            plan.seed,
            repertoire,
        )
        self.changes = Changes()
        self.violations: list[str] = []
        self.late: list[str] = []
        self.recoveries: list[float] = []
        self._began = time.monotonic()
        self._open = ExitStack()

    def __enter__(self) -> Self:
        for each in (self.journal, self.watcher, self.load):
            self._open.enter_context(each)
        return self

    def __exit__(self, *_: object) -> None:
        """Abort the load, if it runs, and close everything."""
        self._open.close()

    def say(self, what: str) -> None:
        """Print progress."""
        self.plan.say(f"{self.name}: {what}")

    def check(self, holds: bool, what: str) -> None:  # noqa: FBT001 - as in `assert holds, what`
        """Record a violation if the condition is false; the round continues."""
        if not holds:
            self.violations.append(f"{self.name}: {what}")
            self.say(f"VIOLATION {what}")

    def check_time(self, holds: bool, what: str) -> None:  # noqa: FBT001 - see `check`
        """Record that a time limit was exceeded: a violation in the full round.

        The short round is for shared machines, so there it is only reported.
        """
        if self.plan.short and not holds:
            self.late.append(what)
            self.say(f"LATE {what}")
        else:
            self.check(holds, what)

    def wait_for(self, condition: Callable[[], bool], seconds: float, what: str) -> bool:
        """Wait for a condition; a timeout is a violation."""
        deadline = time.monotonic() + seconds
        while not condition():
            if self.load.error is not None:
                raise self.load.error
            if time.monotonic() > deadline:
                self.check(False, f"{what}: not within {seconds:g} s")  # noqa: FBT003 - see `check`
                return False
            time.sleep(POLL_SECONDS)  # poll
        return True

    def recovered(self, since: float, within: float, *, bound: float | None = None) -> float:
        """Wait until commands and events of all SKUs that began after `since` are handled; returns the longest delay.

        A delay counts from `since` or from the start of an event, message or request, whichever is later. `bound` is
        the guaranteed limit.
        """
        start = since + MARGIN

        def flows() -> bool:
            fresh = {event.subject for _, event in self.watcher.arrivals(start) if event.created > start}
            return fresh.issuperset(SKUS) and self._inbound_flows(start)

        self.wait_for(flows, within, "events and commands flow again")
        seconds = max(self.waits(since).values())
        self.recoveries.append(seconds)
        if bound is not None:
            self.check_time(seconds <= bound, f"it took {seconds:.1f} s until all flowed again, more than {bound:g} s")
        return seconds

    def waits(self, since: float) -> dict[Way, float]:
        """The longest delay on each way since then; see `recovered`."""
        delivered = self._delivered(since - 10 * self.plan.session)
        received = self.database.received_since(since)
        settled = [entry for entry, _ in self.journal.answers(since) if entry.via == "http"]
        waits: dict[Way, list[float]] = {
            "events": [arrived - max(event.created, since) for arrived, event in self.watcher.arrivals(since)],
            "inbound": [at - max(delivered[ce_id], since) for ce_id, at in received.items() if ce_id in delivered],
            "http": [each.final.at - max(each.answers[0].sent, since) for each in settled if each.final is not None],
        }
        return {way: max(seconds, default=0.0) for way, seconds in waits.items()}

    def _delivered(self, since: float) -> dict[str, float]:
        return {
            entry.id: answer.at
            for entry, answer in self.journal.answers(since)
            if entry.via == "kafka" and answer.is_definite
        }

    def _inbound_flows(self, start: float) -> bool:
        """Whether messages after `start` have taken effect, and no earlier one is pending."""
        delivered = self._delivered(start - 2 * self.plan.session)
        if not any(at > start for at in delivered.values()):
            return False
        received = self.database.received_since(start - 3 * self.plan.session)
        settled = time.time() - MARGIN
        return all(ce_id in received for ce_id, at in delivered.items() if at < max(settled, start))

    def perform(self, act: Callable[[], None]) -> Mapping[str, str]:
        """Run the load, `act` in its middle, and return the inbound messages when all are handled; see `read`."""
        self._warm_up()
        act()
        self._finish()
        where = self.installation
        commands = len(self.journal.entries)
        return wait_for_quiet(self.database, where.bootstrap, where.inbound_topic, self.changes, commands)

    def read(self, inbound: Mapping[str, str]) -> Story:
        """Read topics, tables and the read side. The service is idle."""
        self.say("the oracle reads")
        where = self.installation
        port = where.http_ports()[0]
        entries = self.journal.entries
        return collect_story(entries, self.database, where.bootstrap, where.events_topic, inbound, port, self.changes)

    def judge(self, story: Story, *, lost: bool = False) -> None:
        """Add what oracle and outside judge find to the violations. `lost`: answered commands may be lost."""
        judgement = judge(story, lost=lost)
        self.violations += [f"{self.name}: {complaint}" for complaint in judgement.complaints]
        if not lost:
            # An answered command that was lost has no place in any order.
            self._ask_outside_judge(story)
        for rerun in judgement.reruns:
            self.say(f"to be noted: {rerun}")

    def verdict(self, story: Story) -> Verdict:
        """The result so far."""
        seconds, commands = time.monotonic() - self._began, len(self.journal.entries)
        return Verdict(self.name, commands, story.duplicates, self.recoveries, self.violations, seconds, len(self.late))

    def _ask_outside_judge(self, story: Story) -> None:
        """Have the history of each SKU checked by a program that is not ours."""
        if self.plan.judge is None:
            return
        arrivals = {event.id: arrived for arrived, event in self.watcher.arrivals()}
        history = operations(story, self.journal.reads, arrivals)
        (self.home / "history.jsonl").write_text("\n".join(map(json.dumps, history)), encoding="utf-8")
        ruling = rule(self.plan.judge, self._judged(history), self.plan.of(60, 10) * max(1.0, len(history) / USUAL))
        for complaint in ruling.violations:
            self.check(False, complaint)  # noqa: FBT003 - see `check`
        for complaint in ruling.unknown:
            self.check_time(False, complaint)  # noqa: FBT003 - see `check`
        self.say(f"the order of {len(history)} operations was judged in {ruling.seconds:.1f} s")

    def _judged(self, history: list[Fields]) -> list[Fields]:
        """The operations of all SKUs with at most MOST_OF_A_SKU: a search over more takes too much memory."""
        counts = Counter(operation["sku"] for operation in history)
        large = {sku for sku, count in counts.items() if count > MOST_OF_A_SKU}
        if large:
            self.say(f"the order is not judged of {', '.join(f'{sku} ({counts[sku]} operations)' for sku in large)}")
        return [operation for operation in history if operation["sku"] not in large]

    def _warm_up(self) -> None:
        """Return when commands over both ways are answered and their events published."""
        self.load.start()
        begun = time.time() - MARGIN
        warm = f"the first {WARM_COMMANDS} commands are answered"
        self.wait_for(lambda: self.journal.settled >= WARM_COMMANDS, WARM_SECONDS, warm)
        self.recovered(begun, WARM_SECONDS)
        self.recoveries.clear()
        self.say(f"{self.journal.settled} commands answered, {self.watcher.count} events published; now the fault")

    def _finish(self) -> None:
        """Run the load to its number of commands, and stop it."""
        missing = self.plan.commands - self.journal.settled
        self.say(f"healed after {self.journal.settled} commands; {max(missing, 0)} to go")
        seconds = WARM_SECONDS + 3 * max(missing, 0) / self.plan.pace.per_second
        self.wait_for(lambda: self.journal.settled >= self.plan.commands, seconds, "the load comes to its end")
        self.load.stop(seconds=STOP_SECONDS)
