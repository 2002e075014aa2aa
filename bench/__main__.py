"""`make bench`: baselines and scenarios in alternating rounds; medians are reported.

Exits with 1 if a result was wrong (an error response, a lost or doubled line), never because one was slow.
"""

import logging
import sys
import time
from pathlib import Path

import click

from bench import report
from bench.plan import Plan
from bench.report import Row
from bench.scenarios import ON_REQUEST, QUICK, SCENARIOS
from bench.stack import running_stack


@click.command()
@click.option("--quick", is_flag=True, help=f"Small numbers, and only {', '.join(QUICK)}: under 90 seconds, coarse.")
@click.option(
    "--only", multiple=True, type=click.Choice([*SCENARIOS, *ON_REQUEST]), help="Run only these; may be repeated."
)
@click.option(
    "--out", default=Path("bench/results"), type=click.Path(path_type=Path), help="Folder for bench.json and bench.svg."
)
def main(*, quick: bool, only: tuple[str, ...], out: Path) -> None:
    """Compare the service with the limits of this machine."""
    logging.basicConfig(level=logging.WARNING)
    started = time.monotonic()

    def say(what: str) -> None:
        click.echo(f"[{time.monotonic() - started:5.0f} s] {what}", err=True)

    plan = (
        Plan(1, 2, 10_000, 20_000, 100_000, 2_000, 60, 3, 40_000, 20_000, say)
        if quick
        else Plan(3, 3, 50_000, 100_000, 1_000_000, 10_000, 200, 9, 1_000_000, 300_000, say)
    )
    rows: list[Row] = []
    try:
        with running_stack() as stack:
            for name in only or (QUICK if quick else SCENARIOS):
                rows += (SCENARIOS | ON_REQUEST)[name](stack, plan)
    finally:
        click.echo(report.table(rows))
        report.write(rows, plan.faults, out)
    click.echo(f"\nwritten to {out}/bench.json and {out}/bench.svg after {time.monotonic() - started:.0f} s")
    if plan.faults:
        click.echo("WRONG RESULTS:\n" + "\n".join(plan.faults), err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
