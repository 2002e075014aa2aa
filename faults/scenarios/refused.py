"""An event that the broker refuses because of its size, until an operator raises the limit of the topic."""

import re
import time
import urllib.request

from confluent_kafka.admin import (  # type: ignore[attr-defined] # missing in its stubs
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)

from app.embedded.process import LOOPBACK
from faults.actors import SKUS
from faults.rounds import Fault, Round
from faults.trial import RECOVERY_LIMIT

SKU = SKUS[1]
LIMIT = 16_000
"""The limit of the topic in bytes: larger than every usual event, smaller than a batch of many."""

PADDING = 20_000
NOTICED_SECONDS = 60.0
OTHERS_SECONDS = 5.0
"""The limit for events of other SKUs."""

DRAINED_SECONDS = 75.0
"""The relay retries a refused event at least once in a minute."""

METRIC = re.compile(r"^allocation_outbox_refused_subjects (\d+)", re.MULTILINE)


def refused_event(this: Round) -> None:
    """One event is larger than the topic allows: only later events of its SKU wait, and doctor names the remedy."""
    _set_limit(this, LIMIT)
    this.database.ask("CREATE SEQUENCE fault_padded")
    # White space after a JSON document does not change it.
    this.database.ask(
        f"""CREATE FUNCTION pad() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            IF nextval('fault_padded') = 1 THEN NEW.data := NEW.data || repeat(' ', {PADDING}); END IF;
            RETURN NEW; END $$"""
    )
    began = time.time()
    this.database.ask_each(
        f"CREATE TRIGGER pad BEFORE INSERT ON events FOR EACH ROW WHEN (NEW.subject = '{SKU}') EXECUTE FUNCTION pad()"
    )
    noticed = this.wait_for(lambda: _refused(this) == 1, NOTICED_SECONDS, "a metric counts the refused SKU")
    seconds, since = time.time() - began, time.time()
    # The delay of the retries doubles, so the round gets longer by as much as this takes.
    this.wait_for(lambda: time.time() > since + this.plan.of(90, 0), RECOVERY_LIMIT * 2, "the time passes")
    _others_flow(this, time.time())
    late = [event for _, event in this.watcher.arrivals(since) if event.subject == SKU]
    this.check(noticed and not late, f"{len(late)} events of the SKU came while its event was refused")
    slowest = max(arrived - event.created for arrived, event in this.watcher.arrivals(since) if event.subject != SKU)
    this.check_time(slowest <= OTHERS_SECONDS, f"an event of another SKU came {slowest:.1f} s late")
    this.check(any(f"of {SKU} is refused" in log for log in _logs(this)), "no log of a relay names the SKU")
    this.say(f"noticed after {seconds:.1f} s; the slowest event of another SKU came after {slowest:.1f} s")
    _follow_the_doctor(this)


def _follow_the_doctor(this: Round) -> None:
    """Do what `allocation doctor` advises, and see the events of the SKU in order."""
    report = this.stack.command("doctor").stdout
    advice = re.search(rf"^fault +events +{SKU}: .* set max.message.bytes=(\d+)", report, re.MULTILINE)
    this.check(advice is not None, f"doctor does not name the SKU and the limit that it needs: {report}")
    _set_limit(this, int(advice[1]) if advice else 2 * PADDING)
    raised = time.time()
    this.wait_for(lambda: _refused(this) == 0, DRAINED_SECONDS, "the event is published when the limit is raised")
    seconds = this.recovered(raised, RECOVERY_LIMIT)
    this.say(f"the limit was raised as advised; all events of the SKU were published after {seconds:.1f} s")
    if not this.plan.short:
        report = this.stack.command("doctor").stdout
        this.check(re.search(r"^ok +events", report, re.MULTILINE) is not None, f"doctor finds a fault: {report}")


def _others_flow(this: Round, since: float) -> None:
    """Wait for an event of each other SKU that was created since then."""
    others = set(SKUS) - {SKU}

    def flow() -> bool:
        return others <= {event.subject for _, event in this.watcher.arrivals(since) if event.created > since}

    this.wait_for(flow, RECOVERY_LIMIT, "the events of all other SKUs are published")


def _refused(this: Round) -> int:
    """The sum of the metric over all relays."""
    refused = 0
    for relay in this.stack.of("relay"):
        with urllib.request.urlopen(f"http://{LOOPBACK}:{relay.port}/metrics", timeout=5) as response:
            refused += sum(int(number) for number in METRIC.findall(response.read().decode()))
    return refused


def _logs(this: Round) -> list[str]:
    return [this.stack.log_of(relay).read_text(errors="replace") for relay in this.stack.of("relay")]


def _set_limit(this: Round, limit: int) -> None:
    topic = ConfigResource(
        ResourceType.TOPIC,
        this.watcher.topic,
        incremental_configs=[
            ConfigEntry("max.message.bytes", str(limit), incremental_operation=AlterConfigOpType.SET),
        ],
    )
    admin = AdminClient({"bootstrap.servers": this.bootstrap, "log_level": 0})
    for future in admin.incremental_alter_configs([topic]).values():
        future.result(RECOVERY_LIMIT)


FAULTS: dict[str, Fault] = {
    "refused-event": Fault(refused_event, needs_log=True),
}
