"""Database outages."""

import functools
import time

from faults.rounds import LONGEST_HTTP_WAIT, Fault, Round
from faults.trial import RECOVERY_LIMIT

ERRORS_END_SECONDS = 5.0
ERRORS = (1, 20, 5)


def postgres(this: Round) -> None:
    """PostgreSQL is stopped in immediate mode and restarted: the service recovers automatically."""
    before = {instance: instance.pid for instance in this.stack.of()}
    for number in range(this.plan.of(10, 2)):
        away = time.time()
        this.servers.crash_postgresql()
        # Wait until callers notice the outage, otherwise nothing was broken.
        noticed = functools.partial(_noticed, this, away, ERRORS[number % len(ERRORS)])
        this.wait_for(noticed, RECOVERY_LIMIT, "callers notice")
        this.servers.postgresql.start()
        back = time.time()
        seconds = this.recovered(back, RECOVERY_LIMIT)
        last = max(this.journal.last_server_error() or back, back)
        bound = f"5xx went on for {last - back:.1f} s after PostgreSQL was back"
        this.check_time(last - back <= ERRORS_END_SECONDS, bound)
        this.say(
            f"PostgreSQL was away for {back - away:.1f} s; 5xx ended after {last - back:.1f}, all flows {seconds:.1f}"
        )
    this.check({each: each.pid for each in this.stack.of()} == before, "a process was restarted")
    longest = this.journal.longest_wait()
    this.check_time(longest <= LONGEST_HTTP_WAIT, f"a caller waited {longest:.1f} s for an answer")


def _noticed(this: Round, since: float, errors: int) -> bool:
    return sum(not answer.is_definite for _, answer in this.journal.answers(since)) >= errors


FAULTS: dict[str, Fault] = {
    "postgres": Fault(postgres),
}
