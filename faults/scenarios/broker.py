"""Broker outages, shorter and longer than the relay waits for an acknowledgement."""

import time

from app.entrypoints.kafka.publisher import SEND_TIMEOUT
from faults.rounds import LONGEST_HTTP_WAIT, Fault, Round
from faults.trial import RECOVERY_LIMIT

HTTP_ANSWERS = {200, 201, 202, 204, 400, 404, 409}
"""Statuses of writes while the database works: done, or refused by a rule."""

FLOWS_AGAIN_SECONDS = 10.0
"""The limit for events and messages after the broker's return: backoffs, a new producer, a rebalance."""


def broker(this: Round) -> None:
    """The broker is killed and restarted: HTTP callers are not affected, and the rest recovers automatically."""
    before = {instance: instance.pid for instance in this.stack.of()}
    # The short round has only the second kind, which is harder. The broker's start takes additional time.
    for long in (True,) if this.plan.short else (False, True):
        away = time.time()
        this.servers.kill_broker()
        if long:
            time.sleep(SEND_TIMEOUT + 0.5)
        waiting = outbox_size(this)
        this.servers.broker.start()
        back = time.time()
        this.check(not long or back - away > SEND_TIMEOUT, "the broker was not away for longer than a send may take")
        this.check(waiting > 0 or not long, "no event had to wait, so nothing was broken")
        seconds = this.recovered(back, RECOVERY_LIMIT, bound=FLOWS_AGAIN_SECONDS)
        check_writes(this, away, back)
        this.say(
            f"the broker was away for {back - away:.1f} s with {waiting} events waiting; all flows after {seconds:.1f}"
        )
    this.check({each: each.pid for each in this.stack.of()} == before, "a process was restarted")


def outbox_size(this: Round) -> int:
    """The number of unpublished events."""
    return this.database.total("SELECT count(*) FROM outbox")


def check_writes(this: Round, since: float, until: float) -> None:
    """Every HTTP request of that period had a definite response in time."""
    answers = [
        (entry, answer) for entry, answer in this.journal.answers(since) if entry.via == "http" and answer.sent < until
    ]
    odd = [f"{entry.id}: {answer.status} {answer.error}" for entry, answer in answers]
    odd = [what for what, (_, answer) in zip(odd, answers, strict=True) if answer.status not in HTTP_ANSWERS]
    this.check(len(answers) > 0, "no request was sent over HTTP while the broker was down")
    this.check(not odd, f"{len(odd)} of {len(answers)} writes had no answer of the contract, such as {odd[:3]}")
    longest = max((answer.seconds for _, answer in answers), default=0.0)
    this.check_time(longest <= LONGEST_HTTP_WAIT, f"a caller waited {longest:.1f} s for an answer")
    this.say(f"{len(answers)} writes answered meanwhile, the slowest after {longest:.2f} s")


FAULTS: dict[str, Fault] = {
    "broker": Fault(broker, needs_log=True, in_short=False),
}
