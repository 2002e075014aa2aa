"""The objects and limits that the routes use."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, tzinfo
from typing import Any

from fastapi import Request

from app.entrypoints.http.identity import Gate
from app.entrypoints.http.streams import Streams
from app.read_model.queries import Queries
from app.service_layer.feed import EventFeed
from app.service_layer.messagebus import MessageBus


@dataclass(slots=True)
class HttpServices:
    """The services of an HTTP application, at `app.state.services`.

    `check_database` returns the reason for which the service cannot use the database, or None, and raises if the
    database does not respond. `validation_context` has the limits of this service. `deadline` is in seconds.
    `cart_currency` is the currency of carts that are made without one. `zone` decides which day it is.
    """

    bus: MessageBus
    queries: Queries
    gate: Gate
    feed: EventFeed
    streams: Streams
    check_database: Callable[[], Awaitable[str | None]]
    validation_context: Mapping[str, Any] = field(default_factory=dict)
    deadline: float = 8.0
    max_body_bytes: int = 65_536
    max_bulk_body_bytes: int = 1_048_576
    cart_currency: str = "EUR"
    zone: tzinfo = UTC
    is_stopping: bool = False


def services_of(scope: Mapping[str, Any]) -> HttpServices:
    """The services of the application that handles the request."""
    services: HttpServices = scope["app"].state.services
    return services


def queries_of(request: Request) -> Queries:
    """The queries of the application that handles the request."""
    return services_of(request.scope).queries
