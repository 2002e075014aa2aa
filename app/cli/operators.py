"""The commands for operators."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from app.cli.output import json_option, show_json
from app.cli.running import load_settings, run_with_service

if TYPE_CHECKING:
    from app.bootstrap import Service


@click.command()
def migrate() -> None:
    """Migrate the database schema to the revision that this version needs."""
    from app.adapters.postgresql import schema
    from app.bootstrap import database_tls

    settings = load_settings()
    revision = schema.migrate(
        settings.database_url.get_secret_value(), tls=database_tls(settings), cells=settings.cells
    )
    note = "" if revision == schema.head() else f", newer than {schema.head()}, which this version needs; unchanged"
    click.echo(f"The schema is at revision {revision}{note}.")


@click.command()
def health() -> None:
    """Exit with 0 if database, schema and broker are usable, else with 1 and the reason."""
    from app.adapters.kafka import clients
    from app.operations import readiness

    async def check(service: Service) -> None:
        fault = await readiness.check(service)
        if fault is not None:
            raise click.ClickException(fault)
        await clients.check_broker(service.kafka)

    run_with_service(load_settings(), check)
    click.echo("healthy")


@click.command()
@click.option("--repair", is_flag=True, help="Repair the differences that can be repaired.")
@json_option
def reconcile(*, repair: bool, as_json: bool) -> None:
    """Find inconsistencies in sums, lines, queues and outbox.

    Compares stored sums with their lines, queues with the stock, and pending events with the sequence of their product.
    Prints one line for each difference. Exits with 1 if a difference remains or a product could not be compared. It can
    run while the service runs.
    """
    from app.operations import reconciliation

    async def check(service: Service) -> None:
        found = remaining = 0
        walk = reconciliation.Reconciliation(service, repair=repair)
        async for difference in walk.differences():
            if as_json:
                show_json(difference.as_json())
            else:
                click.echo(difference.line)
            found += 1
            remaining += not difference.repaired
        summary = f"differences: {found} found, {found - remaining} repaired, {remaining} remaining"
        if walk.unchecked:
            summary += f"; {walk.unchecked} products could not be compared, see the log"
        if remaining or walk.unchecked:
            raise click.ClickException(summary)
        if not as_json:
            click.echo(summary)

    run_with_service(load_settings(), check)


@click.command(name="advance-clocks")
def advance_clocks() -> None:
    """After a restore from a backup: continue the sequences of published events.

    A restored database would reuse the sequences of events that were published after the backup, and subscribers would
    skip the new events as old. This command reads the events topic once, imports the missing events into the history,
    and advances the sequence of each product that is behind. Run it while nothing else writes to the database. It can
    be repeated. If the service wrote before, it names the SKUs with two events that have the same sequence.
    """
    from app.operations import history_recovery

    async def advance(service: Service) -> None:
        found = history_recovery.ImportResult()
        async for page in history_recovery.read_topic(service.kafka, service.settings.kafka_events_topic):
            found += await history_recovery.import_missing(service, page)
        if found.foreign:
            click.echo(f"records: {found.foreign} are not events of this service and were skipped", err=True)
        click.echo(f"products: {len(found.behind)} were behind")
        for sku in sorted(found.forked):
            click.echo(f"forked: {sku} has two events with one sequence; subscribers must read its state", err=True)

    run_with_service(load_settings(), advance)
