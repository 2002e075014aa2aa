"""`make simulate`: the model beside the measured figures, then installations that were not measured."""

import json
import time
from dataclasses import asdict
from pathlib import Path

import click

from bench.simulation import check, picture, scale
from bench.simulation.costs import derive


@click.command()
@click.option("--check-only", is_flag=True, help="Only compare the model with the measured figures.")
@click.option(
    "--out", default=Path("bench/results"), type=click.Path(path_type=Path), help="Folder for simulation.json and .svg."
)
def main(*, check_only: bool, out: Path) -> None:
    """Simulate the installation with the costs that were measured."""
    costs, started = derive(), time.process_time()
    comparisons = check.compare(costs)
    click.echo(f"{'scenario':<82} {'measured':>8} {'model':>6} {'off by':>6}")
    for each in comparisons:
        note = "fitted" if each.is_fitted else "" if each.is_close else "NOT WITHIN 20%"
        click.echo(f"{each.scenario:<82} {each.measured:>8.2f} {each.simulated:>6.2f} {each.deviation:>+6.0%} {note}")
    if check_only:
        return
    charts = scale.charts(costs, lambda what: click.echo(f"[{time.process_time() - started:4.0f} s] {what}", err=True))
    click.echo(scale.table(charts))
    out.mkdir(parents=True, exist_ok=True)
    content = {"comparisons": [asdict(each) for each in comparisons], "charts": [asdict(chart) for chart in charts]}
    (out / "simulation.json").write_text(json.dumps(content, indent=2) + "\n")
    (out / "simulation.svg").write_text(picture.draw(comparisons, charts))
    click.echo(f"\nwritten to {out}/simulation.json and {out}/simulation.svg")


if __name__ == "__main__":
    main()
