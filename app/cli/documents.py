"""The commands that print the documents of the interfaces."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from app.cli.running import load_settings, run_with_service

if TYPE_CHECKING:
    from app.bootstrap import Service


@click.command()
def openapi() -> None:
    """Print the OpenAPI document."""
    from app.entrypoints.server import http_application

    async def show(service: Service) -> None:
        click.echo(json.dumps(http_application(service).openapi(), indent=2))

    run_with_service(load_settings(), show)


@click.command()
def asyncapi() -> None:
    """Print the AsyncAPI document."""
    from app.integration.asyncapi import asyncapi_document

    click.echo(json.dumps(asyncapi_document(), indent=2))
