"""A long mixed load with a fault every minute: what the service uses stays the same, and what it prunes is pruned."""

import itertools
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from sqlalchemy.engine import make_url

from app.embedded.broker import EmbeddedBroker
from app.embedded.postgresql import EmbeddedPostgresql
from faults.ageing import Ageing
from faults.background import Background
from faults.flatness import Bound, Series
from faults.load import Pace
from faults.plan import Plan
from faults.repertoire import EVERYTHING
from faults.rounds import Fault, Round
from faults.stack import PLAIN_ENTRY, Instance
from faults.trial import RECOVERY_LIMIT
from faults.usage import Usage
from tests.support.apache_kafka import ApacheKafka

MOST_COMMANDS, MOST_READS = 200_000, 3_000
"""Four hours have no more: the oracle reads and remembers all of them."""

FAULT_INTERVAL = 60.0
AWAY_SECONDS = 3.0
WARM_SHARE, LONGEST_WARMUP = 0.25, 600.0
SAMPLES, SHORTEST_INTERVAL, LONGEST_INTERVAL = 40, 5.0, 15.0

PRUNED = ("inbox", "idempotency_keys", "carts", "cart_items", "commit_tokens", "outbox")
"""Tables whose rows go again. Ended holds are rows of `order_lines`."""

AGEING_CARTS = "cart_id LIKE 'cart-%'"
"""The carts of the load do not age: its clients return to them."""

COUNTED = {"carts": AGEING_CARTS, "cart_items": AGEING_CARTS}

KEPT = ("products", "batches", "order_lines", "orders", "events")

BOUNDS = {
    # Python keeps memory of its largest group; a leak of a kilobyte for each command would be 30 MB in ten minutes.
    "memory": Bound(1.05, 6.0),
    "files": Bound(1.0, 5.0),
    "connections": Bound(1.0, 3.0),
    "rows": Bound(1.3, 100.0),
    "bytes": Bound(1.5, 2e6),
    "bytes-per-row": Bound(1.5, 50.0),
    "dead-share": Bound(1.5, 0.25),
    "overdue": Bound(1.0, 20.0),
    "p50": Bound(1.5, 10.0),
    "p99": Bound(2.0, 100.0),
}
"""Megabytes of a process, its open files and connections to PostgreSQL; rows and bytes of a table; bytes and dead rows
for each row; holds that are over; milliseconds of a request."""

LATENCIES = ("p50", "p99")

# Fewer dead rows than the threshold of a table, such as that of the outbox, are not vacuumed.
SIZES = """
    SELECT t.relname, pg_total_relation_size(relid), n_dead_tup, greatest(n_live_tup, 1000, threshold.rows)
    FROM pg_stat_user_tables AS t JOIN pg_class AS c ON c.oid = relid LEFT JOIN LATERAL (
        SELECT option_value::bigint AS rows FROM pg_options_to_table(c.reloptions)
        WHERE option_name = 'autovacuum_vacuum_threshold'
    ) AS threshold ON true
    WHERE t.relname = ANY($1) AND t.schemaname = current_schema()
"""
OVERDUE = "SELECT count(*) FROM order_lines WHERE held_until < clock_timestamp() - interval '5 s'"


def of_minutes(plan: Plan) -> Plan:
    """The plan with a load that the oracle can judge, whatever the minutes."""
    seconds = 60 * plan.minutes
    per_second = min(plan.pace.per_second / 2, MOST_COMMANDS / seconds)
    return replace(plan, commands=0, pace=Pace(plan.pace.http, plan.pace.kafka, per_second, MOST_READS / seconds))


class Sampler(Background):
    """Measures processes, tables and requests at an interval."""

    def __init__(self, this: Round, interval: float, lasting: Sequence[Instance]) -> None:
        """`lasting` are the processes that are not killed; others lose what they have."""
        super().__init__("sampler")
        self.series = Series(BOUNDS)
        self.missed = 0
        self._this = this
        self._interval = interval
        self._lasting = lasting
        self._port = make_url(this.stack.database_url).port or 0

    def _run(self) -> None:
        since = time.time()
        while not self._stopping.wait(self._interval):
            try:
                sample = self._processes() | self._requests(since) | self._tables()
            except Exception as error:  # noqa: BLE001 - a server is restarting
                self.missed += 1
                self._this.say(f"not measured: {error!r}")
            else:
                self.series.add(sample)
            since = time.time()

    def _processes(self) -> dict[str, float]:
        sample: dict[str, float] = {}
        for instance in self._lasting:
            usage = Usage.of(instance.pid, self._port)
            sample[f"memory {instance}"] = usage.megabytes
            sample[f"files {instance}"] = usage.files
            sample[f"connections {instance}"] = usage.connections
        return sample

    def _requests(self, since: float) -> dict[str, float]:
        answers = self._this.journal.answers(since)
        waits = [1000 * answer.seconds for entry, answer in answers if entry.via == "http"]
        cuts = statistics.quantiles(waits, n=100)
        return {"p50 http": cuts[49], "p99 http": cuts[98]}

    def _tables(self) -> dict[str, float]:
        database = self._this.database
        sample: dict[str, float] = {"overdue holds": database.total(OVERDUE)}
        sizes = database.ask_each(SIZES, [*PRUNED, *KEPT])
        for table in sorted({name for name, *_ in sizes}):
            # The sums over the cells.
            size, dead, usual = map(sum, zip(*(numbers for name, *numbers in sizes if name == table), strict=True))
            rows = database.total(f"SELECT count(*) FROM {table} WHERE {COUNTED.get(table, 'true')}")
            sample[f"dead-share {table}"] = dead / usual
            if table in PRUNED:
                sample |= {f"rows {table}": rows, f"bytes {table}": size}
            else:
                sample[f"bytes-per-row {table}"] = size / max(rows, 1)
        return sample


def soak(this: Round) -> None:
    """Each minute one thing fails in turn. The first process of each role lives on, and is measured."""
    seconds = 60 * this.plan.minutes
    lasting = [this.stack.of(role)[0] for role in ("serve", "consume", "relay", "notify")]
    pids = [instance.pid for instance in lasting]
    # So that sizes of the tables are settled after the warm-up.
    this.servers.administer("ALTER SYSTEM SET autovacuum_naptime = '5s'")
    this.servers.administer("SELECT pg_reload_conf()")
    begun, faults = time.time(), itertools.cycle(_faults(this, lasting))
    warm = min(WARM_SHARE * seconds, LONGEST_WARMUP)
    sampler = Sampler(this, min(max(seconds / SAMPLES, SHORTEST_INTERVAL), LONGEST_INTERVAL), lasting)
    with Ageing(this.installation, this.changes) as ageing:
        _wait_until(this, begun + warm, faults)
        with sampler:
            _wait_until(this, begun + seconds, faults)
    this.recovered(time.time(), RECOVERY_LIMIT)
    for line in sampler.series.summary():
        this.say(line)
    for complaint in sampler.series.complaints():
        # Other programs on the machine make requests slower, and nothing else larger.
        note = this.check_time if complaint.startswith(LATENCIES) else this.check
        note(False, complaint)  # noqa: FBT003 - see `check`
    this.check([instance.pid for instance in lasting] == pids, "a process exited that was not to be killed")
    this.check(ageing.carts > 0 and bool(this.changes.aged), "nothing was there to be pruned")
    this.say(f"{ageing.carts} carts were made, {len(this.changes.aged)} messages aged, {sampler.missed} samples missed")


def _wait_until(this: Round, end: float, faults: "itertools.cycle[Callable[[], str]]") -> None:
    """Inject the next fault each minute until then."""
    while time.time() + FAULT_INTERVAL < end:
        due = time.time() + FAULT_INTERVAL
        since = time.time()
        what = next(faults)()
        recovery = this.recovered(since, RECOVERY_LIMIT)
        this.say(f"{what}: all flows {recovery:.1f} s after it began")
        this.wait_for(lambda due=due: time.time() >= due, 2 * FAULT_INTERVAL, "the next minute begins")  # type: ignore[misc]
    this.wait_for(lambda: time.time() >= end, 2 * FAULT_INTERVAL, "the end of the phase")


def _faults(this: Round, lasting: Sequence[Instance]) -> list[Callable[[], str]]:
    victims = [instance for instance in this.stack.of() if instance not in lasting]
    kills = [lambda victim=victim: f"kill -9 of {victim} ({this.stack.kill(victim)})" for victim in victims]
    others = [
        lambda: _restart(this.servers.postgresql, "PostgreSQL"),
        lambda: _restart(this.servers.broker, "the broker"),
        lambda: _reset_connections(this),
    ]
    return [each for pair in itertools.zip_longest(kills, others) for each in pair if each is not None]


def _restart(server: EmbeddedPostgresql | ApacheKafka | EmbeddedBroker, name: str) -> str:
    server.stop()
    time.sleep(AWAY_SECONDS)
    server.start()
    return f"{name} was restarted"


def _reset_connections(this: Round) -> str:
    this.servers.database_proxy.set_mode("cut")
    this.servers.database_proxy.set_mode("pass")
    return "all connections to PostgreSQL were reset"


def _entry(_: Path, instance: Instance) -> Sequence[str]:
    if instance.role != "consume":
        return PLAIN_ENTRY
    return (sys.executable, "-m", "faults.housekeeping")


FAULTS: dict[str, Fault] = {
    "soak": Fault(
        soak,
        proxied=True,
        entry=_entry,
        needs_log=True,
        in_short=False,
        size=of_minutes,
        # In a long load there are always holds that are about to end, and the oracle waits until there are none.
        repertoire=replace(EVERYTHING, long_hold=60),
    ),
}
