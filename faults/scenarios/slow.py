"""No fault, but one SKU is slow."""

import time
from collections.abc import Sequence
from pathlib import Path

from faults import delays
from faults.actors import SKUS
from faults.delays import Span
from faults.foreign import Sender
from faults.journal import Answer, Entry
from faults.load import as_record
from faults.rounds import LONGEST_HTTP_WAIT, Fault, Round
from faults.stack import Instance
from faults.trial import RECOVERY_LIMIT

SLOW = SKUS[1]
SLOW_SECONDS = 0.1
"""The additional time of each event of that SKU, about ten times that of a command."""

PADDING = 20_000
PAGE = 100
GROWTH_LIMIT = 96
"""The permitted growth of a process in megabytes: less than its pending messages in the full round."""

REBALANCES = 1


def slow_sku(this: Round) -> None:
    """Each event of one SKU takes ten times as long as a command, and more arrive than can be handled."""
    processes = {instance: instance.pid for instance in this.stack.of()}
    memory = {instance: _peak(instance) for instance in processes}
    generations = rebalances(this)
    before = Span(time.time() - this.plan.of(30, 5), time.time())
    this.database.ask("CREATE TABLE fault_slowness AS SELECT 0.0::float8 AS seconds")
    this.database.ask(
        """CREATE FUNCTION take_long() RETURNS trigger LANGUAGE plpgsql
           AS $$ BEGIN PERFORM pg_sleep((SELECT seconds FROM fault_slowness)); RETURN NEW; END $$"""
    )
    this.database.ask_each(
        f"""CREATE TRIGGER take_long BEFORE INSERT ON events FOR EACH ROW
            WHEN (NEW.subject = '{SLOW}') EXECUTE FUNCTION take_long()"""
    )
    this.database.ask(f"UPDATE fault_slowness SET seconds = {SLOW_SECONDS}")
    start = time.time()
    burst = _burst(this, this.plan.of(3000, 240))
    time.sleep(max(0.0, start + this.plan.of(60, 9) - time.time()))
    lag = _missing(this, burst, start)
    this.database.ask("UPDATE fault_slowness SET seconds = 0")
    healed = time.time()
    this.check(lag > 0, "nothing waited, so nothing was too slow")
    limit = this.plan.of(90, 20)
    this.wait_for(lambda: not _missing(this, burst, start), limit, f"the lag of {lag} messages drains")
    this.say(f"{lag} of {len(burst)} messages waited when it ended; all done after {time.time() - healed:.1f} s")
    this.recovered(time.time(), RECOVERY_LIMIT)
    _check_processes(this, {instance: pid for instance, pid in processes.items() if pid is not None}, memory)
    times = rebalances(this) - generations
    this.check(times <= REBALANCES, f"the consumers shared out the partitions {times} times")
    longest = this.journal.longest_wait()
    this.check_time(longest <= LONGEST_HTTP_WAIT, f"a caller waited {longest:.1f} s for an answer")
    _check_others(this, before, Span(start, healed))


def _burst(this: Round, count: int) -> list[Entry]:
    """One batch and many orders for the slow SKU, with additional fields, so that the lag is large in bytes."""
    batch = {"ref": "slow-batch", "sku": SLOW, "qty": count, "eta": None}
    orders = (
        Entry(f"slow.{number}", "slow", "kafka", "allocate", {"order_id": f"slow-{number}", "sku": SLOW, "qty": 1})
        for number in range(1, count)
    )
    entries = [Entry("slow.0", "slow", "kafka", "create_batch", batch), *orders]
    with Sender(this.bootstrap, this.inbound_topic) as sender:
        for page in (entries[first : first + PAGE] for first in range(0, count, PAGE)):
            sent = time.time()
            for entry in page:
                this.journal.begin(entry)
            sender.send([as_record(entry, padding="x" * PADDING) for entry in page])
            for entry in page:
                this.journal.note(entry, Answer(sent, time.time(), 200))
    return entries


def _missing(this: Round, burst: Sequence[Entry], since: float) -> int:
    received = this.database.received_since(since)
    return sum(entry.id not in received for entry in burst)


def _peak(instance: Instance) -> float:
    """The peak memory of the process, in megabytes."""
    lines = Path(f"/proc/{instance.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:"))


def _check_processes(this: Round, pids: dict[Instance, int], memory: dict[Instance, float]) -> None:
    growth = {}
    for instance, pid in pids.items():
        if instance.pid != pid:
            this.check(False, f"{instance} was restarted")  # noqa: FBT003 - see `check`
            continue
        growth[instance] = _peak(instance) - memory[instance]
        grown = f"{instance} grew by {growth[instance]:.0f} MB to {_peak(instance):.0f} MB"
        this.check(growth[instance] <= GROWTH_LIMIT, f"{grown}, more than {GROWTH_LIMIT} MB")
    this.say("grew by " + ", ".join(f"{instance} {grown:.0f} MB" for instance, grown in growth.items()))


def rebalances(this: Round) -> int:
    """The number of rebalances of the consumers."""
    return this.servers.broker.log_file.read_text(errors="replace").count(
        f"Preparing to rebalance group {this.inbound_topic}.allocation "
    )


def _check_others(this: Round, before: Span, meanwhile: Span) -> None:
    """Other SKUs continue, but share groups with the slow one: their delay is reported, not limited."""
    answers, arrivals = list(this.journal.answers(before.start)), this.watcher.arrivals(before.start)
    slow = {SLOW}
    was, became = (delays.messages(answers, arrivals, span, slow) for span in (before, meanwhile))
    this.say(f"messages of other SKUs took {was} before, {became} meanwhile")
    was, became = (delays.requests(answers, span, slow) for span in (before, meanwhile))
    this.say(f"requests of other SKUs took {was} before, {became} meanwhile")
    moved = {event.subject for arrived, event in arrivals if arrived in meanwhile and event.subject in SKUS} - slow
    this.say(f"meanwhile {len(moved)} of {len(SKUS) - 1} other SKUs were heard of")
    this.check(len(moved) >= len(SKUS) / 2, f"only of {len(moved)} other SKUs was anything heard meanwhile")


FAULTS: dict[str, Fault] = {
    "slow-sku": Fault(slow_sku),
}
