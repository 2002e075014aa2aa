"""`make faults`: each fault in turn, with a load, a journal, recovery and the oracle.

Exits with 1 if anything was lost, doubled or too slow, with a line for each violation.
"""

import logging
import secrets
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import click

from faults.load import Pace
from faults.outside_judge import build
from faults.plan import Plan, Verdict
from faults.rounds import play
from faults.scenarios import FAULTS
from faults.servers import BrokerKind, Servers
from tests.support.downloads import DownloadError

SHOWN = 40
"""Violations of one fault that are printed; the journal has the rest."""


@click.command()
@click.option("--fault", "names", multiple=True, type=click.Choice(list(FAULTS)), help="Only this; may be repeated.")
@click.option(
    "--short", is_flag=True, help="A short round, for CI: of the faults that fit into its time, if none is named."
)
@click.option("--seed", type=int, help="Repeat the load and the choices of an earlier run.")
@click.option("--broker", type=click.Choice(["apache", "embedded"]), default="apache", show_default=True)
@click.option("--keep", is_flag=True, help="Keep journals and logs even if nothing is wrong.")
def main(*, names: Sequence[str], short: bool, seed: int | None, broker: BrokerKind, keep: bool) -> None:
    """Inject faults into the service and check that nothing is lost or doubled."""
    logging.basicConfig(level=logging.ERROR)
    started = time.monotonic()
    seed = secrets.randbelow(1_000_000) if seed is None else seed

    def say(what: str) -> None:
        click.echo(f"[{time.monotonic() - started:5.0f} s] {what}", err=True)

    say(f"seed {seed}")
    home = Path(tempfile.mkdtemp(prefix="allocation-faults-"))
    plan = (
        Plan(short, seed, 700, Pace(6, 3, 60), {"serve": 2, "consume": 2, "relay": 2, "notify": 1}, 2.0, 3.0, say)
        if short
        else Plan(
            short, seed, 10_000, Pace(10, 5, 100), {"serve": 2, "consume": 2, "relay": 2, "notify": 2}, 5.0, 6.0, say
        )
    )
    try:
        plan = replace(plan, judge=build())
    except DownloadError as error:
        say(f"skipped: the order of the operations is not judged, because {error}")
    verdicts: list[Verdict] = []
    chosen = list(names or (name for name, fault in FAULTS.items() if fault.in_short or not short))
    if broker == "embedded":
        for name in [name for name in chosen if FAULTS[name].needs_log or FAULTS[name].proxied]:
            say(f"{name}: skipped, because the embedded broker does not support it")
            chosen.remove(name)
    try:
        with Servers(home, broker) as servers:
            servers.start(say)
            for name in chosen:
                verdicts.append(_play(name, plan, servers, home / name))
                say(f"{name}: {_word(verdicts[-1])} after {verdicts[-1].seconds:.0f} s")
    finally:
        click.echo(table(verdicts))
    violations = [violation for verdict in verdicts for violation in verdict.violations[:SHOWN]]
    click.echo(f"\nseed {seed}, {time.monotonic() - started:.0f} s")
    if violations:
        click.echo("VIOLATIONS (journals and logs are in " + str(home) + "):\n" + "\n".join(violations), err=True)
        sys.exit(1)
    if keep:
        click.echo(f"journals and logs are in {home}")
    else:
        shutil.rmtree(home, ignore_errors=True)


def _play(name: str, plan: Plan, servers: Servers, home: Path) -> Verdict:
    """One round. A round that fails with an exception becomes a verdict, and the others still run."""
    started = time.monotonic()
    try:
        return play(name, FAULTS[name], plan, servers, home)
    except Exception as error:  # noqa: BLE001 - any error becomes a violation
        traceback.print_exc()
        return Verdict(name, 0, 0, [], [f"{name}: the round failed: {error!r}"], time.monotonic() - started)


def table(verdicts: Sequence[Verdict]) -> str:
    """The results as a table."""
    rows = [
        (
            verdict.name,
            f"{verdict.commands:,}",
            f"{verdict.duplicates:,}",
            f"{max(verdict.recoveries):.1f}" if verdict.recoveries else "–",
            _word(verdict),
        )
        for verdict in verdicts
    ]
    head = ("fault", "commands", "duplicates seen", "seconds to recover", "verdict")
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    lines = [" | ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)) for row in [head, *rows]]
    lines.insert(1, "-|-".join("-" * width for width in widths))
    return "\n".join(lines)


def _word(verdict: Verdict) -> str:
    if verdict.left_out:
        return f"skipped: {verdict.left_out}"
    if verdict.violations:
        return f"{len(verdict.violations)} VIOLATIONS"
    return "nothing lost, nothing doubled" + (f"; {verdict.late} times late" if verdict.late else "")


if __name__ == "__main__":
    main()
