"""Consumers that leave and join their group all the time."""

import signal
import time

from faults.rounds import Fault, Round
from faults.scenarios.slow import rebalances
from faults.trial import RECOVERY_LIMIT

CONSUMERS = 4
INTERVAL = 1.0
DRAINED_SECONDS = 30.0


def rebalance_storm(this: Round) -> None:
    """Each second one of four consumers leaves, and its successor joins: partitions change hands during the work."""
    while len(this.stack.of("consume")) < CONSUMERS:
        this.stack.add("consume")
    this.stack.wait_until_ready()
    before, began = rebalances(this), time.time()
    leavings = this.plan.of(60, 10)
    for number in range(leavings):
        # A successor that starts may be stopped as well. It may not have joined the group by then.
        victims = [each for each in this.stack.of("consume") if each.pid is not None]
        if victims:
            this.stack.signal(this.random.choice(victims), signal.SIGTERM, ends=True)
        _wait_until(this, began + INTERVAL * (number + 1))
    ended, after = time.time(), rebalances(this)
    received = len(this.database.received_since(began))
    left = sum(death.at > began and death.instance.role == "consume" for death in this.stack.deaths)
    # A rebalance begins again with each member that joins or leaves during it, so there are fewer of them.
    this.check(left >= leavings / 2 and after > before, f"{left} consumers left, with {after - before} rebalances")
    seconds = this.recovered(ended, RECOVERY_LIMIT, bound=DRAINED_SECONDS)
    this.say(
        f"{left} consumers left, {after - before} rebalances in {ended - began:.0f} s, {received} messages handled"
        f" meanwhile; all flows after {seconds:.1f} s"
    )


def _wait_until(this: Round, due: float) -> None:
    this.wait_for(lambda: time.time() >= due, RECOVERY_LIMIT, "the next second begins")


FAULTS: dict[str, Fault] = {
    "rebalance-storm": Fault(rebalance_storm, needs_log=True, in_short=False),
}
