"""One round: servers, processes and load, a fault in the middle, recovery, and the oracle's verdict."""

import json
import random
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from faults.actors import SKUS
from faults.history import operations
from faults.journal import Journal
from faults.load import Load
from faults.observe import Changes, Database, collect_story, wait_for_quiet
from faults.oracle import judge
from faults.outside_judge import rule
from faults.plan import Plan, Verdict
from faults.servers import Servers
from faults.stack import PLAIN_ENTRY, Instance, Stack
from faults.story import Story
from faults.topics import Watcher, create_topics

Way = Literal["events", "inbound", "http"]

INBOUND, EVENTS, DATABASE = "{}.inbound", "{}.events", "fault_{}"
WARM_COMMANDS = 150
WARM_SECONDS = 60.0
POLL_SECONDS = 0.05
STOP_SECONDS = 300.0
MARGIN = 1.0
RECOVERY_LIMIT = 60.0
"""Seconds after which recovery has failed."""

LONGEST_HTTP_WAIT = 10.5
"""The guaranteed 10 s for a response, plus the transfer."""


@dataclass(frozen=True)
class Fault:
    """A fault: its action during the load, and its changes to the stack.

    `run` breaks and repairs; it returns when the service works again. `proxied` connects the service to its servers
    through the proxies, `settings` are added to the service's, and `entry` replaces the command line of a process; it
    gets the home of the round. `needs_log`: the broker must keep its data, which the embedded one does not.
    `loses_commits`: answered commands may be lost, so the oracle checks only what does not follow from answers.
    `in_short`: the short round of all faults has it; CI has a limit of time.
    `around` changes the servers for the round; it raises LeftOutError if this machine lacks a requirement.
    """

    run: Callable[["Round"], None]
    proxied: bool = False
    settings: Mapping[str, str] = field(default_factory=dict)
    entry: Callable[[Path, Instance], Sequence[str]] = lambda _, __: PLAIN_ENTRY
    needs_log: bool = False
    loses_commits: bool = False
    in_short: bool = True
    around: Callable[[Servers, Path], AbstractContextManager[None]] = lambda _, __: nullcontext()


class LeftOutError(Exception):
    """This machine lacks a requirement of the fault; the message names it."""


@dataclass
class Round:
    """The tools of a fault."""

    name: str
    plan: Plan
    servers: Servers
    stack: Stack
    load: Load
    journal: Journal
    watcher: Watcher
    database: Database
    home: Path
    random: random.Random
    changes: Changes = field(default_factory=Changes)
    violations: list[str] = field(default_factory=list)
    late: list[str] = field(default_factory=list)
    recoveries: list[float] = field(default_factory=list)

    @property
    def bootstrap(self) -> str:
        """The address of the broker for clients other than the service."""
        return self.servers.bootstrap_servers()

    @property
    def inbound_topic(self) -> str:
        """The topic of the commands over Kafka."""
        return INBOUND.format(self.name)

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


def play(name: str, fault: Fault, plan: Plan, servers: Servers, home: Path) -> Verdict:
    """Run one fault, from starting the processes to the oracle's verdict."""
    home.mkdir(parents=True)
    try:
        with fault.around(servers, home):
            return _play(name, fault, plan, servers, home)
    except LeftOutError as reason:
        return Verdict(name, 0, 0, [], [], 0.0, left_out=str(reason))


def _play(name: str, fault: Fault, plan: Plan, servers: Servers, home: Path) -> Verdict:
    started = time.monotonic()
    plan.say(f"{name}: a database, topics and processes of its own")
    inbound, events, database = INBOUND.format(name), EVENTS.format(name), DATABASE.format(name)
    bootstrap = servers.bootstrap_servers()
    servers.heal()
    servers.create_database(database)
    create_topics(bootstrap, inbound, events, replication=servers.replication)
    stack = Stack(
        home,
        servers.service_url(database, proxied=fault.proxied),
        servers.bootstrap_servers(proxied=fault.proxied),
        plan.counts,
        _settings(plan, servers, inbound, events) | dict(fault.settings),
        lambda instance: fault.entry(home, instance),
    )
    dsn = servers.dsn(database)
    with ExitStack() as open_things:
        open_things.enter_context(stack)
        journal = open_things.enter_context(Journal(home / "journal.jsonl"))
        watcher = open_things.enter_context(Watcher(bootstrap, events))
        stack.start()
        load = Load(journal, stack.http_ports, bootstrap, inbound, plan.pace, plan.seed)
        open_things.enter_context(load)
        this = Round(
            name,
            plan,
            servers,
            stack,
            load,
            journal,
            watcher,
            Database(dsn),
            home,
            random.Random(f"{plan.seed} {name}"),
        )
        _warm_up(this)
        fault.run(this)
        _finish(this)
        quiet = wait_for_quiet(this.database, bootstrap, inbound, this.changes.inbound)
        this.say("the oracle reads")
        stack.wait_until_ready()
        port = stack.http_ports()[0]
        story = collect_story(journal.entries, this.database, bootstrap, events, quiet, port, this.changes)
    judgement = judge(story, lost=fault.loses_commits)
    this.violations += [f"{name}: {complaint}" for complaint in judgement.complaints]
    if not fault.loses_commits:
        # An answered command that was lost has no place in any order.
        _ask_outside_judge(this, story)
    for rerun in judgement.reruns:
        this.say(f"to be noted: {rerun}")
    for death in stack.unexpected_deaths():
        this.check(False, f"{death.instance} exited unexpectedly with status {death.status}")  # noqa: FBT003 - see `check`
    seconds = time.monotonic() - started
    return Verdict(
        name, len(journal.entries), story.duplicates, this.recoveries, this.violations, seconds, len(this.late)
    )


def _ask_outside_judge(this: Round, story: Story) -> None:
    """Have the history of each SKU checked by a program that is not ours."""
    if this.plan.judge is None:
        return
    arrivals = {event.id: arrived for arrived, event in this.watcher.arrivals()}
    history = operations(story, this.journal.reads, arrivals)
    (this.home / "history.jsonl").write_text("\n".join(map(json.dumps, history)), encoding="utf-8")
    ruling = rule(this.plan.judge, history, this.plan.of(60, 10))
    for complaint in ruling.violations:
        this.check(False, complaint)  # noqa: FBT003 - see `check`
    for complaint in ruling.unknown:
        this.check_time(False, complaint)  # noqa: FBT003 - see `check`
    this.say(f"the order of {len(history)} operations was judged in {ruling.seconds:.1f} s")


def _settings(plan: Plan, servers: Servers, inbound: str, events: str) -> dict[str, str]:
    return {
        "kafka_inbound_topics": inbound,
        "kafka_events_topic": events,
        "kafka_consumer_group": f"{inbound}.allocation",
        "kafka_notifier_group": f"{inbound}.notifier",
        "kafka_topic_replication": str(servers.replication),
        "kafka_idempotent_producer": str(servers.kind == "apache").lower(),
        "kafka_session_timeout": str(plan.session),
        "relay_lease": str(plan.lease),
        "warehouse_email": "warehouse@example.com",
        "log_level": "INFO",
    }


def _warm_up(this: Round) -> None:
    """Return when commands over both ways are answered and their events published."""
    this.load.start()
    begun = time.time() - MARGIN
    warm = f"the first {WARM_COMMANDS} commands are answered"
    this.wait_for(lambda: this.journal.settled >= WARM_COMMANDS, WARM_SECONDS, warm)
    this.recovered(begun, WARM_SECONDS)
    this.recoveries.clear()
    this.say(f"{this.journal.settled} commands answered, {this.watcher.count} events published; now the fault")


def _finish(this: Round) -> None:
    """Run the load to its number of commands, and stop it."""
    missing = this.plan.commands - this.journal.settled
    this.say(f"healed after {this.journal.settled} commands; {max(missing, 0)} to go")
    seconds = WARM_SECONDS + 3 * max(missing, 0) / this.plan.pace.per_second
    this.wait_for(lambda: this.journal.settled >= this.plan.commands, seconds, "the load comes to its end")
    this.load.stop(seconds=STOP_SECONDS)
