"""Callers disconnect at any time of a request; the service keeps nothing of them."""

import asyncio
import itertools
import random
import socket
import struct
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from app.embedded.process import LOOPBACK
from faults.actors import HOT, SKUS, Actor
from faults.census import TASKS
from faults.client import TIMEOUT, Connection, NoAnswerError, as_bytes
from faults.database import choose
from faults.journal import Answer, Entry
from faults.load import as_request
from faults.rounds import Fault, Round
from faults.stack import Instance
from faults.trial import RECOVERY_LIMIT
from faults.usage import Usage

Moment = Literal["head", "body", "waiting", "reading"]
MOMENTS: tuple[Moment, ...] = ("head", "body", "waiting", "reading")
CLIENTS = 12
POOL = 4
LONGEST_WAIT = 0.03
SETTLED_SECONDS = 60.0
CALM_SECONDS = 10.0
MORE_TASKS, MORE_FILES, MORE_MEGABYTES = 10, 10, 32
"""The permitted growth of a server: the load continues, and memory is allocated in pages."""

# Only older ones: transactions of the load take some milliseconds.
IDLE = """
    SELECT pid, state, query FROM pg_stat_activity
    WHERE datname = current_database() AND state LIKE 'idle in transaction%' AND state_change < now() - interval '1 s'
"""
# The reader of the load may be one of those that read a product or the lines of an order.
READING = """
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND wait_event_type = 'Lock'
    AND (query LIKE '%p.backordered_qty%' OR query LIKE '%ORDER BY l.order_id, l.sku, l.line%')
"""
RESET = struct.pack("ii", 1, 0)


def disconnects(this: Round) -> None:
    """Callers disconnect thousands of times; no connection, task, file or memory is kept for them."""
    servers = this.stack.of("serve")
    # One-time needs, such as pooled connections, are allocated before the measurement.
    asyncio.run(_reads_at_once(this))
    before = {instance: _Use.of(instance) for instance in servers}
    quitters = _Quitters(this, this.plan.of(5000, 600))
    began = time.time()
    asyncio.run(quitters.run())
    moments = ", ".join(f"{count} ({moment})" for moment, count in sorted(quitters.moments.items()))
    this.say(f"hung up {quitters.moments.total()} times in {time.time() - began:.0f} s: {moments}")
    _check_nothing_is_left(this, before)
    this.recovered(time.time(), RECOVERY_LIMIT)


@dataclass
class _Quitters:
    """Clients that disconnect, and finally repeat the request to get the outcome."""

    this: Round
    total: int
    moments: Counter[str] = field(default_factory=Counter)

    async def run(self) -> None:
        """Return after enough disconnects, when every command has its response."""
        async with asyncio.TaskGroup() as group:
            for number in range(CLIENTS):
                group.create_task(self._play(Actor(f"q{number}", "http", self.this.plan.seed), number))

    async def _play(self, actor: Actor, number: int) -> None:
        chance = random.Random(f"{self.this.plan.seed} quitter {number}")
        while self.moments.total() < self.total:
            entry = actor.next()
            self.this.journal.begin(entry)
            port = chance.choice(self.this.stack.http_ports())
            request = as_bytes(*as_request(entry), entry.id, entry.idempotency_key)
            for _ in range(chance.choice([1, 1, 2])):
                sent = time.time()
                moment = await self._hang_up(chance, port, request)
                self.this.journal.note(entry, Answer(sent, time.time(), None, error=f"hung up: {moment}"))
            if chance.random() < 0.3:
                await self._hang_up(chance, port, as_bytes("GET", f"/v1/products/{chance.choice(SKUS)}"))
            await self._settle(entry, port)
            actor.learn(entry)

    async def _hang_up(self, chance: random.Random, port: int, request: tuple[bytes, bytes]) -> Moment:
        """Start the request, and disconnect at a random time with FIN or RST."""
        head, body = request
        moment = chance.choice([each for each in MOMENTS if body or each != "body"])
        reader, writer = await asyncio.open_connection(LOOPBACK, port)
        match moment:
            case "head":
                writer.write(head[: chance.randrange(len(head))])
            case "body":
                writer.write(head + body[: chance.randrange(len(body))])
            case _:
                writer.write(head + body)
        if moment == "reading":
            async with asyncio.timeout(TIMEOUT):
                await reader.read(chance.randint(1, 60))
        else:
            await asyncio.sleep(chance.choice([0, chance.uniform(0, LONGEST_WAIT)]))
        if chance.random() < 0.5:
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        writer.close()
        self.moments[moment] += 1
        return moment

    async def _settle(self, entry: Entry, port: int) -> None:
        """Repeat the request at the same server until there is a response, so that it cannot overtake the first one."""
        method, path, body = as_request(entry)
        async with Connection(port) as connection:
            started = time.monotonic()
            while entry.final is None and time.monotonic() - started < SETTLED_SECONDS:
                sent = time.time()
                try:
                    status, answer = await connection.request(method, path, body, entry.id, entry.idempotency_key)
                    self.this.journal.note(entry, Answer(sent, time.time(), status, answer))
                    if entry.final is None:
                        await asyncio.sleep(0.1)
                except NoAnswerError as error:
                    self.this.journal.note(entry, Answer(sent, time.time(), None, error=str(error)))
                    await asyncio.sleep(0.1)


def _check_nothing_is_left(this: Round, before: "dict[Instance, _Use]") -> None:
    deadline = time.monotonic() + CALM_SECONDS
    excesses = _excesses(before)
    # Retry, because the load varies: only lasting growth is a leak.
    while excesses and time.monotonic() < deadline:
        time.sleep(0.2)  # poll
        excesses = _excesses(before)
    for excess in excesses:
        this.check(False, excess)  # noqa: FBT003 - see `check`
    for instance, use in before.items():
        this.say(f"{instance} before and after: {use}; {_Use.of(instance)}")
    idle = this.database.ask(IDLE)
    this.check(not idle, f"connections are idle in transaction: {idle}")
    statuses, most = asyncio.run(_reads_at_once(this))
    wanted = POOL * len(before)
    this.check(statuses == Counter({200: wanted}), f"{wanted} callers at once were answered {dict(statuses)}")
    this.check(most == wanted, f"{most} of {wanted} read at once: connections of the pools are not given back")
    this.say(f"{most} of the {wanted} connections for reading worked at the same time")
    ready = asyncio.run(_all(this, "/readyz"))
    this.check(set(ready) == {200}, f"asked for readiness at once, servers answered {dict(ready)}")


def _excesses(before: "dict[Instance, _Use]") -> list[str]:
    return [f"{instance}: {excess}" for instance, use in before.items() for excess in _Use.of(instance).beyond(use)]


@dataclass(frozen=True)
class _Use:
    """The resources of a process, read from outside except for its tasks."""

    tasks: int
    files: int
    megabytes: float

    @classmethod
    def of(cls, instance: Instance) -> "_Use":
        """The present values."""
        usage = Usage.of(instance.pid)
        return cls(asyncio.run(_tasks(instance.port)), usage.files, usage.megabytes)

    def beyond(self, before: "_Use") -> list[str]:
        """The values that have grown more than permitted."""
        bounds = {"tasks": MORE_TASKS, "files": MORE_FILES, "megabytes": MORE_MEGABYTES}
        return [
            f"{getattr(before, name):.0f} {name} before, {getattr(self, name):.0f} afterwards"
            for name, bound in bounds.items()
            if getattr(self, name) > getattr(before, name) + bound
        ]

    def __str__(self) -> str:
        return f"{self.tasks} tasks, {self.files} files, {self.megabytes:.0f} MB"


async def _tasks(port: int) -> int:
    reader, writer = await asyncio.open_connection(LOOPBACK, port)
    writer.write(b"GET /metrics HTTP/1.0\r\n\r\n")
    async with asyncio.timeout(TIMEOUT):
        text = (await reader.read()).decode()
    writer.close()
    return int(text.rpartition(f"{TASKS} ")[2])


async def _reads_at_once(this: Round) -> tuple[Counter[int], int]:
    """Send as many concurrent requests as the pools have connections, all blocked by a database lock.

    Returns the statuses of their responses, and the number that waited for the lock together.
    """
    locker = await this.database.connect()
    watcher = await this.database.connect()
    try:
        transaction = locker.transaction()
        await transaction.start()
        for name in this.database.schemas:
            await choose(locker, name)
            await locker.execute("LOCK TABLE batches IN ACCESS EXCLUSIVE MODE")
        asking = asyncio.create_task(_all(this, f"/v1/products/{HOT}"))
        most = 0
        # Shorter than the service's lock timeout.
        for _ in range(20):
            await asyncio.sleep(0.05)
            most = max(most, await watcher.fetchval(READING))
            if most == POOL * len(this.stack.of("serve")):
                break
        await transaction.rollback()
        return await asking, most
    finally:
        await locker.close()
        await watcher.close()


async def _all(this: Round, path: str) -> Counter[int]:
    """The statuses of as many concurrent requests as the pools of all servers have connections."""

    async def ask(port: int) -> int:
        async with Connection(port) as connection:
            return (await connection.request("GET", path))[0]

    ports = itertools.chain.from_iterable([port] * POOL for port in this.stack.http_ports())
    return Counter(await asyncio.gather(*map(ask, ports)))


def _counting_entry(_: Path, __: Instance) -> Sequence[str]:
    return (sys.executable, "-m", "faults.census")


FAULTS: dict[str, Fault] = {
    "disconnects": Fault(disconnects, settings={"database_pool_size": str(POOL)}, entry=_counting_entry),
}
