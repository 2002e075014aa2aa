"""`make faults`: each fault in turn, with a load, a journal, recovery and the oracle; or only these, on a target.

Exits with 1 if anything was lost, doubled or too slow, with a line for each violation.
"""

import logging
import os
import secrets
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import click

from faults.load import Pace
from faults.outside_judge import build
from faults.plan import Plan, Verdict
from faults.rounds import play
from faults.scenarios import FAULTS
from faults.servers import BrokerKind, Servers
from faults.stack import Role
from faults.target import NAME as TARGET
from faults.target import UnsuitableTargetError, attend, installation
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
@click.option(
    "--target",
    metavar="URLS",
    help="Inject nothing: only run load and checks on an installation of yours at these URLs, separated by commas, and"
    " at the addresses in ALLOCATION_DATABASE_URL and ALLOCATION_KAFKA_.... All must be of this machine.",
)
@click.option(
    "--minutes", type=click.FloatRange(min=0.1), default=10.0, show_default=True, help="Time for a target or the soak."
)
@click.option(
    "--cells",
    type=click.IntRange(1, 64),
    default=1,
    show_default=True,
    envvar="ALLOCATION_CELLS",
    show_envvar=True,
    help="The number of cells.",
)
def main(
    *,
    names: Sequence[str],
    short: bool,
    seed: int | None,
    broker: BrokerKind,
    keep: bool,
    target: str | None,
    minutes: float,
    cells: int,
) -> None:
    """Inject faults into the service and check that nothing is lost or doubled."""
    logging.basicConfig(level=logging.ERROR)
    started = time.monotonic()
    seed = secrets.randbelow(1_000_000) if seed is None else seed

    def say(what: str) -> None:
        click.echo(f"[{time.monotonic() - started:5.0f} s] {what}", err=True)

    where = None if target is None else installation(target, os.environ, cells)
    home = Path(tempfile.mkdtemp(prefix="allocation-faults-"))
    verdicts: list[Verdict] = []
    try:
        with ExitStack() as open_things:
            plan = _plan(short=short, seed=seed, minutes=minutes, cells=cells, say=say)
            if where is not None:
                rounds = {TARGET: partial(attend, where, plan, home / TARGET)}
            else:
                servers = open_things.enter_context(Servers(home, broker))
                servers.start(say)
                rounds = {
                    name: partial(play, name, FAULTS[name], plan, servers, home / name)
                    for name in _chosen(names, broker, plan)
                }
            for name, run in rounds.items():
                verdicts.append(_guarded(name, run))
                say(f"{name}: {_word(verdicts[-1])} after {verdicts[-1].seconds:.0f} s")
    finally:
        if verdicts:
            click.echo(table(verdicts))
    _conclude(
        verdicts, home, f"seed {seed}, {cells} cell{'s' * (cells > 1)}, {time.monotonic() - started:.0f} s", keep=keep
    )


def _conclude(verdicts: Sequence[Verdict], home: Path, summary: str, *, keep: bool) -> None:
    """Print the violations, and exit with 1 if there are any; otherwise delete the files."""
    violations = [violation for verdict in verdicts for violation in verdict.violations[:SHOWN]]
    click.echo(f"\n{summary}")
    if violations:
        click.echo("VIOLATIONS (journals and logs are in " + str(home) + "):\n" + "\n".join(violations), err=True)
        sys.exit(1)
    if keep:
        click.echo(f"journals and logs are in {home}")
    else:
        shutil.rmtree(home, ignore_errors=True)


def _plan(*, short: bool, seed: int, minutes: float, cells: int, say: Callable[[str], None]) -> Plan:
    """The size of the rounds."""
    say(f"seed {seed}, {cells} cell{'s' * (cells > 1)}")
    counts: dict[Role, int] = {"serve": 2, "consume": 2, "relay": 2, "notify": 1 if short else 2}
    judge = None
    try:
        judge = build()
    except DownloadError as error:
        say(f"skipped: the order of the operations is not judged, because {error}")
    if short:
        return Plan(short, seed, 700, Pace(6, 3, 60), counts, 2.0, 3.0, say, judge, minutes, cells)
    return Plan(short, seed, 10_000, Pace(10, 5, 100), counts, 5.0, 6.0, say, judge, minutes, cells)


def _chosen(names: Sequence[str], broker: BrokerKind, plan: Plan) -> list[str]:
    """The faults that are named, or all, that this broker and this number of cells support."""
    chosen = list(names or (name for name, fault in FAULTS.items() if fault.in_short or not plan.short))
    if broker == "embedded":
        for name in [name for name in chosen if FAULTS[name].needs_log or FAULTS[name].proxied]:
            plan.say(f"{name}: skipped, because the embedded broker does not support it")
            chosen.remove(name)
    if plan.cells > 1:
        for name in [name for name in chosen if FAULTS[name].one_cell_only]:
            plan.say(f"{name}: skipped, because {FAULTS[name].one_cell_only}")
            chosen.remove(name)
    return chosen


def _guarded(name: str, run: Callable[[], Verdict]) -> Verdict:
    """One round. A round that fails with an exception becomes a verdict, and the others still run."""
    started = time.monotonic()
    try:
        return run()
    except UnsuitableTargetError:
        raise
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
