"""The commands for those who look after the service."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import click

from app.cli.output import json_option, show_json
from app.cli.running import load_settings, run_with_service

if TYPE_CHECKING:
    from app.bootstrap import Service


@click.command()
def migrate() -> None:
    """Bring the database's schema to the version that this code needs."""
    from app.adapters import schema

    revision = schema.migrate(load_settings().database_url)
    note = "" if revision == schema.head() else f", newer than {schema.head()}, which this code needs; it is left alone"
    click.echo(f"The schema is at revision {revision}{note}.")


@click.command()
def health() -> None:
    """Exit with 0 where database, schema and broker are as they should be, else with 1 and the reason."""
    from app.adapters import kafka, schema

    async def check(service: Service) -> None:
        fault = await schema.check(service.engine)
        if fault is not None:
            raise click.ClickException(fault)
        await kafka.check_broker(service.kafka)

    run_with_service(load_settings(), check)
    click.echo("healthy")


@click.command()
@click.option("--repair", is_flag=True, help="Mend what can be mended.")
@json_option
def reconcile(*, repair: bool, as_json: bool) -> None:
    """Find what does not agree: sums, lines, queues, outbox.

    Sums that are stored are compared with the lines they sum up, queues with the stock, and pending events with the
    clock of their product. Shows one line for each difference, and exits with 1 where any remains. It may run while the
    service works.
    """
    from app.entrypoints import reconciliation

    async def check(service: Service) -> None:
        found = remaining = 0
        async for difference in reconciliation.Reconciliation(service, repair=repair).differences():
            if as_json:
                show_json(dataclasses.asdict(difference))
            else:
                click.echo(difference.line)
            found += 1
            remaining += not difference.mended
        summary = f"differences: {found} found, {found - remaining} mended, {remaining} remaining"
        if remaining:
            raise click.ClickException(summary)
        if not as_json:
            click.echo(summary)

    run_with_service(load_settings(), check)
