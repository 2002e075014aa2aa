"""The command that checks everything the service needs."""

from __future__ import annotations

import dataclasses
import logging
from typing import TYPE_CHECKING

import click

from app.cli.output import console, is_terminal, json_option, printable, show_json, table
from app.cli.running import load_settings, run_with_service
from app.cli.setting_names import PREFIX, given_names, known_names, unknown_names

if TYPE_CHECKING:
    from collections.abc import Iterator

    from app.bootstrap import Service
    from app.operations.doctor import Finding


@click.command()
@json_option
def doctor(*, as_json: bool) -> None:
    """Check everything the service needs, and advise on each fault.

    Checks settings, authentication, database, schema, clock, replica, broker, topics, unpublished events and mail.
    Changes nothing. Exits with 1 if there is a fault; warnings do not count.
    """
    from app.adapters.tls import TlsFilesError
    from app.operations.doctor import Finding, Verdict, examine

    findings = list(_settings())
    if not any(finding.verdict == Verdict.FAULT for finding in findings):
        settings = load_settings()
        # A finding reports the same errors in one line.
        for name in ("aiokafka", "asyncio", "app.adapters.kafka.clients"):
            logging.getLogger(name).setLevel(logging.CRITICAL)

        async def check(service: Service) -> None:
            findings.extend([finding async for finding in examine(service)])

        try:
            run_with_service(settings, check)
        except TlsFilesError as error:
            # Every connection needs them.
            advice = "correct the file, or the setting ALLOCATION_…_TLS_…_FILE that names it; nothing else was checked"
            findings.append(Finding("tls", Verdict.FAULT, str(error), advice))
    _show(findings, as_json=as_json)
    faults = sum(finding.verdict == Verdict.FAULT for finding in findings)
    if faults:
        raise click.ClickException(f"{faults} fault{'s' if faults > 1 else ''} found")


def _show(findings: list[Finding], *, as_json: bool) -> None:
    if as_json:
        for finding in findings:
            show_json(dataclasses.asdict(finding))
    elif is_terminal():
        rows = [(str(each.verdict), each.name, each.text, each.advice) for each in findings]
        console().print(table(("verdict", "of", "is", "what to do"), rows))
    else:
        for finding in findings:
            click.echo(printable(finding.line))


def _settings() -> Iterator[Finding]:
    """The findings on the settings: invalid values, and names that are not settings."""
    from pydantic import ValidationError

    from app.operations.doctor import Finding, Verdict
    from app.settings import Settings

    try:
        Settings()
    except ValidationError as error:
        for fault in error.errors(include_url=False, include_input=False):
            name = f"{PREFIX}{'_'.join(map(str, fault['loc'][:1])).upper()}"
            yield Finding("settings", Verdict.FAULT, f"{name}: {fault['msg']}", ".env.example explains each setting")
    else:
        known, given = known_names(), given_names()
        text = f"{len(known & given)} set, {len(known - given)} at their defaults"
        yield Finding("settings", Verdict.OK, text)
    for name, advice in unknown_names():
        yield Finding("settings", Verdict.WARNING, f"{name} is not a setting and is not read", advice)
