"""Processes start and stop under load, as in an upgrade."""

import signal
import time
from collections import Counter
from collections.abc import Sequence

from app.embedded.process import poll_until, port_is_free
from faults.background import Background
from faults.rounds import Fault, Round
from faults.stack import START_SECONDS, Instance, Role, Stack
from faults.trial import RECOVERY_LIMIT

ROLES: tuple[Role, ...] = ("serve", "consume", "relay", "notify")
MOST = 4
MOST_IN_SHORT = 2
"""Of each role except `serve`: in CI starting processes is slow."""
DELAY = 1.0
GRACE = 10.0
EXIT_MARGIN = 2.0
ATTENTIVE, SLOW = 0.1, 2.0 * DELAY
"""Seconds between health checks of two load balancers: one notices a draining server in time, the other does not."""

# 16 processes with two pools each, and PostgreSQL allows 200 connections.
SETTINGS = {"database_pool_size": "2", "shutdown_delay": str(DELAY), "shutdown_grace": str(GRACE)}


class Balancer(Background):
    """Directs callers to servers whose `/readyz` is 200, checked every `interval` seconds."""

    def __init__(self, stack: Stack) -> None:
        """Store the configuration."""
        super().__init__("balancer")
        self.interval = ATTENTIVE
        self._stack = stack

    def _run(self) -> None:
        while not self._stopping.wait(self.interval):
            servers = [each for each in self._stack.instances if each.role == "serve"]
            ready = [self._stack.is_ready(each) for each in servers]
            # If none answers in time, the machine is overloaded, and starting servers do not help.
            if any(ready):
                for instance, is_ready in zip(servers, ready, strict=True):
                    instance.listed = is_ready


def rolling(this: Round) -> None:
    """Instances 1 -> 4 -> 1 of every role, stopped by SIGTERM: a caller needs at most one retry."""
    since = time.time()
    with Balancer(this.stack) as balancer:
        for _ in range(this.plan.of(2, 1)):
            balancer.interval = ATTENTIVE
            _shrink(this)
            if this.plan.short:
                grow(this, [role for role in ROLES for _ in range((MOST if role == "serve" else MOST_IN_SHORT) - 1)])
            else:
                for _ in range(MOST - 1):
                    grow(this, ROLES)
            if not this.plan.short:
                _replace(this)
            # Callers that reach a stopped server retry at another one.
            balancer.interval = SLOW
            _shrink(this)
    this.recovered(time.time(), RECOVERY_LIMIT)
    check_attempts(this, since)


def check_attempts(this: Round, since: float) -> None:
    """No HTTP command needed more than one retry."""
    attempts = Counter(
        sum(not answer.is_definite for answer in entry.answers)
        for entry in {entry.id: entry for entry, _ in this.journal.answers(since) if entry.via == "http"}.values()
    )
    this.say(f"retries that commands needed since then: {dict(sorted(attempts.items()))}")
    for retries, commands in attempts.items():
        this.check(retries <= 1, f"{commands} commands needed {retries} retries")


def grow(this: Round, roles: Sequence[Role]) -> None:
    """One more instance of each role; callers are directed to it when it is ready."""
    started = time.time()
    for instance in [this.stack.add(role, listed=False) for role in roles]:
        if not poll_until(lambda each=instance: _works(this.stack, each), seconds=START_SECONDS):  # type: ignore[misc]
            raise RuntimeError(f"{instance} is not ready; see {this.stack.log_of(instance)}")
    counts = ", ".join(f"{len(this.stack.of(role))} {role}" for role in ROLES)
    this.say(f"{counts} after {time.time() - started:.1f} s")


def _works(stack: Stack, instance: Instance) -> bool:
    """Whether it is ready, or without HTTP exposes its metrics: from then on it handles signals."""
    return stack.is_ready(instance) and not port_is_free(instance.port)


def _shrink(this: Round) -> None:
    """Reduce to one of each role, the oldest first."""
    while any(len(this.stack.of(role)) > 1 for role in ROLES):
        stop(this, [this.stack.of(role)[0] for role in ROLES if len(this.stack.of(role)) > 1])


def _replace(this: Round) -> None:
    """Replace each by a new one, like a rollout."""
    for _ in range(len(this.stack.of("serve"))):
        grow(this, ROLES)
        stop(this, [this.stack.of(role)[0] for role in ROLES])


def stop(this: Round, leaving: list[Instance]) -> None:
    """Stop them with SIGTERM at once; each exits with 0 within its grace, under load."""
    signalled_at = time.time()
    pids = {}
    for instance in leaving:
        # It stays in the balancer's list until the balancer notices.
        instance.wanted = False
        pids[this.stack.signal(instance, signal.SIGTERM, ends=True)] = instance
    limit = DELAY + GRACE + EXIT_MARGIN
    this.wait_for(lambda: all(each.pid is None for each in leaving), limit, f"{', '.join(map(str, leaving))} stop")
    poll_until(lambda: pids.keys() <= {death.pid for death in this.stack.deaths}, seconds=EXIT_MARGIN)
    for death in this.stack.deaths:
        if death.pid in pids:
            this.check(death.status == 0, f"{death.instance} exited with {death.status} after SIGTERM")
    this.wait_for(lambda: not any(each.listed for each in leaving if each.role == "serve"), limit, "it is noticed")
    lasted = {str(death.instance): death.at - signalled_at for death in this.stack.deaths if death.pid in pids}
    this.say("stopped after " + ", ".join(f"{seconds:.1f} s ({name})" for name, seconds in lasted.items()))


FAULTS: dict[str, Fault] = {
    "rolling": Fault(rolling, settings=SETTINGS),
}
