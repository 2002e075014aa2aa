"""One round: servers, processes and load, a fault in the middle, recovery, and the oracle's verdict."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from app.adapters.postgresql import schema
from faults.plan import Plan, Verdict
from faults.repertoire import EVERYTHING, Repertoire
from faults.servers import Servers
from faults.stack import PLAIN_ENTRY, Instance, Stack
from faults.topics import create_topics, partitions_of
from faults.trial import Installation, Trial

INBOUND, EVENTS, DATABASE = "{}.inbound", "{}.events", "fault_{}"

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
    `repertoire` is what the clients do, and `migrate` brings a new database, with that number of cells, to the schema
    with which the round begins. `one_cell_only` is the reason why the round makes no sense with several cells.
    `size` changes the plan for the round.
    `around` changes the servers for the round; it raises LeftOutError if this machine lacks a requirement.
    """

    run: Callable[["Round"], None]
    proxied: bool = False
    settings: Mapping[str, str] = field(default_factory=dict)
    entry: Callable[[Path, Instance], Sequence[str]] = lambda _, __: PLAIN_ENTRY
    needs_log: bool = False
    loses_commits: bool = False
    in_short: bool = True
    repertoire: Repertoire = EVERYTHING
    migrate: Callable[[str, int], object] = lambda url, cells: schema.migrate(url, cells=cells)
    one_cell_only: str = ""
    size: Callable[[Plan], Plan] = lambda plan: plan
    around: Callable[[Servers, Path], AbstractContextManager[None]] = lambda _, __: nullcontext()


class LeftOutError(Exception):
    """This machine lacks a requirement of the fault; the message names it."""


class Round(Trial):
    """The tools of a fault: a trial whose servers and processes are its own."""

    def __init__(
        self, name: str, fault: Fault, plan: Plan, installation: Installation, servers: Servers, stack: Stack
    ) -> None:
        super().__init__(name, plan, installation, stack.home, fault.repertoire)
        self.servers = servers
        self.stack = stack

    @property
    def bootstrap(self) -> str:
        """The address of the broker for clients other than the service."""
        return self.servers.bootstrap_servers()

    @property
    def inbound_topic(self) -> str:
        """The topic of the commands over Kafka."""
        return self.installation.inbound_topic


def play(name: str, fault: Fault, plan: Plan, servers: Servers, home: Path) -> Verdict:
    """Run one fault, from starting the processes to the oracle's verdict."""
    home.mkdir(parents=True)
    try:
        with fault.around(servers, home):
            return _play(name, fault, fault.size(plan), servers, home)
    except LeftOutError as reason:
        return Verdict(name, 0, 0, [], [], 0.0, left_out=str(reason))


def _play(name: str, fault: Fault, plan: Plan, servers: Servers, home: Path) -> Verdict:
    plan.say(f"{name}: a database, topics and processes of its own")
    inbound, events, database = INBOUND.format(name), EVENTS.format(name), DATABASE.format(name)
    bootstrap = servers.bootstrap_servers()
    servers.heal()
    servers.create_database(database, lambda url: fault.migrate(url, plan.cells))
    create_topics(bootstrap, inbound, events, replication=servers.replication, partitions=partitions_of(plan.cells))
    stack = Stack(
        home,
        servers.service_url(database, proxied=fault.proxied),
        servers.bootstrap_servers(proxied=fault.proxied),
        plan.counts,
        _settings(plan, servers, inbound, events) | dict(fault.settings),
        lambda instance: fault.entry(home, instance),
    )
    installation = Installation(stack.http_ports, servers.dsn(database), bootstrap, inbound, events, plan.cells)
    with stack, Round(name, fault, plan, installation, servers, stack) as this:
        stack.start()
        messages = this.perform(lambda: fault.run(this))
        stack.wait_until_ready()
        story = this.read(messages)
    this.judge(story, lost=fault.loses_commits)
    for death in stack.unexpected_deaths():
        this.check(False, f"{death.instance} exited unexpectedly with status {death.status}")  # noqa: FBT003 - see `check`
    return this.verdict(story)


def _settings(plan: Plan, servers: Servers, inbound: str, events: str) -> dict[str, str]:
    return {
        "cells": str(plan.cells),
        "kafka_inbound_topics": inbound,
        "kafka_events_topic": events,
        "kafka_consumer_group": f"{inbound}.allocation",
        "kafka_notifier_group": f"{inbound}.notifier",
        # The service creates no topic but those that a fault has deleted.
        "kafka_topic_partitions": str(partitions_of(plan.cells, later=True)),
        "kafka_topic_replication": str(servers.replication),
        "kafka_idempotent_producer": str(servers.kind == "apache").lower(),
        "kafka_session_timeout": str(plan.session),
        "relay_lease": str(plan.lease),
        "warehouse_email": "warehouse@example.com",
        "log_level": "INFO",
    }
