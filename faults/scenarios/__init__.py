"""The faults, by name. Each is a function of a `Round`: it breaks something, heals it, and says what else it expects.

To add one: write `def my_fault(this: Round) -> None` beside its like, and give it its line in `FAULTS` there.
"""

from faults.rounds import Fault
from faults.scenarios import database, held, letters, messages, processes, slow

FAULTS: dict[str, Fault] = (
    processes.FAULTS | database.FAULTS | messages.FAULTS | letters.FAULTS | slow.FAULTS | held.FAULTS
)
