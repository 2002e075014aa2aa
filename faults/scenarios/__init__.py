"""The faults, by name. Each is a function of a `Round` that breaks something, repairs it, and checks its expectations.

To add one, write `def my_fault(this: Round) -> None` beside similar ones, with its line in `FAULTS` there.
"""

from faults.rounds import Fault
from faults.scenarios import (
    broker,
    brokers,
    clocks,
    database,
    disconnects,
    disk,
    failover,
    held,
    letters,
    memory,
    messages,
    migration,
    network,
    processes,
    rebalances,
    refused,
    releases,
    slow,
    slowness,
    soak,
    upgrades,
    zombies,
)

FAULTS: dict[str, Fault] = processes.FAULTS | database.FAULTS | broker.FAULTS | network.FAULTS | zombies.FAULTS
FAULTS |= (
    clocks.FAULTS | rebalances.FAULTS | refused.FAULTS | messages.FAULTS | letters.FAULTS | slow.FAULTS | held.FAULTS
)
FAULTS |= memory.FAULTS | slowness.FAULTS
FAULTS |= upgrades.FAULTS | disconnects.FAULTS | disk.FAULTS | migration.FAULTS | failover.FAULTS | brokers.FAULTS
FAULTS |= releases.FAULTS | soak.FAULTS
