"""Processes of the service are killed, at random or at named points."""

import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from faults.failing import POINTS, STATUS, Point
from faults.rounds import Fault, Round
from faults.stack import Instance, Role
from faults.trial import RECOVERY_LIMIT, Way

TAKE_OVER_SECONDS = 2.0
"""The limit for a successor after its predecessor's lease or session has ended."""

ARM_LIMIT = 30.0
WAYS: dict[Role, Way] = {"relay": "events", "consume": "inbound", "serve": "http"}
ROLES: tuple[Role, ...] = ("relay", "consume", "serve", "notify")


def kill(this: Round) -> None:
    """Kill random processes repeatedly; another takes over within the lease plus two seconds."""
    # Roles in turn, instances at random, so that a short round covers all roles.
    roles = [ROLES[number % len(ROLES)] for number in range(this.plan.of(20, 4))]
    replace_each(this, roles, this.stack.kill, "kill -9")


def replace_each(this: Round, roles: Iterable[Role], end: Callable[[Instance], int], way: str) -> None:
    """End a process of each of these roles, which returns its id, and check how soon another one takes over."""
    leases = {"relay": this.plan.lease, "consume": this.plan.session, "notify": this.plan.session, "serve": 0.0}
    for role in roles:
        victim = this.random.choice(this.stack.of(role))
        this.stack.wait_until_ready()
        pid = end(victim)
        since = time.time()
        this.recovered(since, RECOVERY_LIMIT)
        seconds = _mail_wait(this, since) if role == "notify" else this.waits(since)[WAYS[role]]
        bound = leases[role] + TAKE_OVER_SECONDS
        this.check_time(
            seconds <= bound, f"no process took over from {victim} for {seconds:.1f} s, more than {bound:g} s"
        )
        this.say(f"{way}: {victim} ({pid}): another had taken over after {seconds:.1f} s")


def _mail_wait(this: Round, since: float) -> float:
    """The time after `since` until the notifiers had handled the allocations of the next half second."""
    wanted: dict[str, int] = {}
    for _, event in this.watcher.arrivals(since):
        if event.type == "line_allocated.v1" and since < event.created < since + 0.5:
            wanted[event.subject] = max(wanted.get(event.subject, 0), event.sequence or 0)

    def dealt_with() -> bool:
        known = dict(this.database.ask_each("SELECT sku, sequence FROM notified_products"))
        return all(known.get(sku, 0) >= sequence for sku, sequence in wanted.items())

    this.wait_for(dealt_with, RECOVERY_LIMIT, "the notifiers go on")
    return time.time() - since


def failpoints(this: Round) -> None:
    """Processes exit at each named point, one at a time."""
    this.stack.expect_status(STATUS)
    for _ in range(this.plan.of(3, 1)):
        for name, point in _interleaved():
            _fail_at(this, name, point)
    this.recovered(time.time(), RECOVERY_LIMIT)


def _interleaved() -> list[tuple[str, Point]]:
    """The points, with alternating roles: while a role recovers, the next one can fail."""
    by_role: dict[str, list[tuple[str, Point]]] = {}
    for name, point in POINTS.items():
        by_role.setdefault(point.role, []).append((name, point))
    columns = list(by_role.values())
    return [column[row] for row in range(max(map(len, columns))) for column in columns if row < len(column)]


def _fail_at(this: Round, name: str, point: Point) -> None:
    since, before = time.time(), len(this.stack.deaths)
    # The full round also fails later in the life of a process.
    nth = 1 if this.plan.short else this.random.randint(1, 5)
    # Not the one that exited last: it was just started, and reaches no point for some seconds.
    instances = this.stack.of(point.role)
    ended = [death.instance for death in this.stack.deaths if death.instance in instances]
    victim = this.random.choice([each for each in instances if each not in ended[-1:]] or instances)
    chosen = armed_file(this.home, victim)
    draft = chosen.with_suffix(".draft")
    draft.write_text(f"{name} {nth}")
    draft.replace(chosen)

    def was_hit() -> bool:
        return any(death.status == STATUS for death in this.stack.deaths[before:])

    if this.wait_for(was_hit, ARM_LIMIT, f"the failpoint {name} is reached"):
        this.say(f"{chosen.stem} ended at {name} after {time.time() - since:.1f} s")
    chosen.unlink(missing_ok=True)
    if not this.plan.short:
        this.recovered(since, RECOVERY_LIMIT)


def armed_file(home: Path, instance: Instance) -> Path:
    """The file that names the point at which the process exits."""
    return home / f"{instance}.armed"


def _failing_entry(home: Path, instance: Instance) -> Sequence[str]:
    return (sys.executable, "-m", "faults.failing", "--armed-by", str(armed_file(home, instance)), "--")


FAULTS: dict[str, Fault] = {
    "kill": Fault(kill),
    "failpoints": Fault(failpoints, entry=_failing_entry),
}
