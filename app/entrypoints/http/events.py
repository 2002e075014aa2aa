"""The published events over HTTP: pages, and a stream of server-sent events."""

import asyncio
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Request, Response
from pydantic import Field

from app.domain.fields import LEFT_OUT, drop_default
from app.entrypoints.http.answers import Answer
from app.entrypoints.http.event_stream import MEDIA_TYPE, EventStream
from app.entrypoints.http.identity import needs
from app.entrypoints.http.parameters import invalid
from app.entrypoints.http.problems import documented
from app.entrypoints.http.query import (
    DEFAULT_ITEMS,
    MAX_FEED_CURSOR_LENGTH,
    FeedCursor,
    FeedSku,
    FeedType,
    Limit,
    StreamLimit,
    WaitSeconds,
)
from app.entrypoints.http.route import ServiceRoute
from app.entrypoints.http.services import services_of
from app.entrypoints.http.streams import Streams
from app.service_layer.feed import EventFeed, FeedBatch, FeedFilter, FeedReader, InvalidFeedCursorError

router = APIRouter(prefix="/v1/events", tags=["events"], route_class=ServiceRoute)

SCAN_SECONDS = 2.0
"""Seconds for which one request reads older events that its filter leaves out."""


@dataclass(frozen=True, slots=True)
class PublishedEvent:
    """A CloudEvent in structured mode, with the attributes and the data of the Kafka record."""

    specversion: Literal["1.0"]
    id: Annotated[
        UUID,
        Field(
            description="The id: two events with the same id are the same event.",
            examples=["0197a7c2-6c1e-7d0c-9d3e-2f1b8f0a4c11"],
        ),
    ]
    source: Annotated[str, Field(description="The service that published it.", examples=["/allocation"])]
    type: Annotated[str, Field(description="The type of the event.", examples=["line_allocated.v1"])]
    subject: Annotated[str, Field(description="The SKU, or the id of the order or cart.", examples=["RED-CHAIR"])]
    time: Annotated[datetime, Field(description="The time of the event.", examples=["2030-01-01T12:00:00Z"])]
    datacontenttype: Literal["application/json"]
    correlationid: Annotated[str, Field(description="The id of the conversation.", examples=["conversation-1"])]
    causationid: Annotated[str, Field(description="The id of the request or message.", examples=["request-1"])]
    data: Annotated[
        dict[str, Any],
        Field(description="The data, as the AsyncAPI document describes the type.", examples=[{"sku": "RED-CHAIR"}]),
    ]
    sequence: Annotated[
        str | None,
        Field(
            description="The position among the events of the SKU: 1, 2, 3 …, in decimal. Events of orders, carts and "
            "unknown SKUs have none.",
            examples=["2"],
            exclude_if=lambda value: value is None,
            json_schema_extra=drop_default,
        ),
    ] = None
    traceparent: Annotated[
        str | None,
        Field(
            description="The W3C trace context, if there is a trace.",
            examples=["00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"],
            exclude_if=lambda value: value is None,
            json_schema_extra=drop_default,
        ),
    ] = None


@dataclass(frozen=True, slots=True)
class EventPage:
    """Events of the feed, and the cursor behind them."""

    events: Annotated[list[PublishedEvent], Field(description="The events, oldest first; those of a SKU in order.")]
    next_cursor: Annotated[
        str, Field(description="The `cursor` of the next page, also if this one is empty.", examples=["AQGiF2nR"])
    ]


@router.get(
    "",
    operation_id="listEvents",
    summary="List published events",
    response_model=EventPage,
    response_description="Events, oldest first. The page can be empty.",
    responses=documented("cursor-expired", "invalid-request", "uri-too-long", "overloaded"),
)
@needs("read")
async def list_events(
    request: Request,
    cursor: FeedCursor = LEFT_OUT,
    limit: Limit = DEFAULT_ITEMS,
    sku: FeedSku = LEFT_OUT,
    type: FeedType = LEFT_OUT,  # noqa: A002 - the name of the parameter
    wait: WaitSeconds = 0,
) -> Response:
    """Returns the events after the cursor, and the cursor to continue with. Without a cursor it begins now.

    With `wait` the response is sent as soon as there is an event, at the latest after that time. A filter moves the
    cursor past the events that it leaves out, so an empty page does not mean that there are no more events.
    An event that was published twice can occur twice, with the same `id`.
    """
    services = services_of(request.scope)
    reader = await open_reader(services.feed, cursor, ("query", "cursor"), FeedFilter(sku, type))
    if wait:
        deadline: asyncio.Timeout = request.scope["state"]["deadline"]
        deadline.reschedule(asyncio.get_running_loop().time() + wait + services.deadline)
        request.scope["state"]["is_waiting"] = True
    batch = await _first_events(reader, limit, wait, services.streams)
    body = b'{"events":[%b],"next_cursor":"%b"}' % (
        b",".join([event.json for event in batch.events]),
        reader.cursor.encode(),
    )
    return Answer(body)


LAST_EVENT_ID = "Last-Event-ID"

_STREAM = {
    "description": "Server-sent events: `id` is a cursor, `event` the type, `data` the CloudEvent.",
    "content": {
        MEDIA_TYPE: {
            "schema": {"type": "string"},
            "example": 'id: AQGiF2nR\nevent: line_allocated.v1\ndata: {"specversion":"1.0","id":"…"}\n\n',
        }
    },
}


@router.get(
    "/stream",
    operation_id="streamEvents",
    summary="Stream published events",
    response_class=EventStream,
    status_code=200,
    responses={
        200: _STREAM,
        **documented("cursor-expired", "invalid-request", "uri-too-long", "overloaded"),
    },
    openapi_extra={
        "parameters": [
            {
                "name": LAST_EVENT_ID,
                "in": "header",
                "required": False,
                "description": "The `id` of the last event that was received, as browsers send it when they connect "
                "again. It takes precedence over `cursor`.",
                "schema": {"type": "string", "maxLength": MAX_FEED_CURSOR_LENGTH, "examples": ["earliest"]},
            }
        ]
    },
)
@needs("read")
async def stream_events(
    request: Request,
    cursor: FeedCursor = LEFT_OUT,
    sku: FeedSku = LEFT_OUT,
    type: FeedType = LEFT_OUT,  # noqa: A002 - the name of the parameter
    limit: StreamLimit = LEFT_OUT,
) -> Response:
    """Sends the events after the cursor, and then each new one. The `id` of an event is the cursor behind it.

    An event `ping` with the present cursor comes at the beginning and every 15 seconds. The last event is `end` with a
    `reason`: `stopping`, `too-old` (after four hours), `limit`, `too-slow`, `cursor-expired`, `unavailable` or
    `unauthenticated`. Connect again with the last `id` as `Last-Event-ID`; no event is lost then.
    """
    return await open_stream(request, cursor, FeedFilter(sku, type), limit)


async def open_stream(request: Request, cursor: str | None, which: FeedFilter, limit: int | None = None) -> EventStream:
    """The stream of a caller who was admitted with the scope `read`. Raises ProblemError."""
    scope = request.scope
    services = services_of(scope)
    last = request.headers.get(LAST_EVENT_ID)
    location = ("header", LAST_EVENT_ID) if last else ("query", "cursor")
    services.streams.check()
    reader = await open_reader(services.feed, last or cursor, location, which)

    async def may_continue() -> bool:
        return await services.gate.still_admits(scope, "read", services.deadline)

    return EventStream(reader, services.streams, may_continue, limit=limit, is_head="is_head" in scope["state"])


async def open_reader(feed: EventFeed, cursor: str | None, location: tuple[str, str], which: FeedFilter) -> FeedReader:
    """A reader of the feed. Raises ProblemError for a malformed cursor, which names its location in the request."""
    try:
        return await feed.open(cursor, which)
    except InvalidFeedCursorError as error:
        raise invalid([{"loc": list(location), "msg": str(error), "type": "cursor"}]) from None


async def _first_events(reader: FeedReader, limit: int, wait: float, streams: Streams) -> FeedBatch:
    """The next events, or an empty batch at the end of the feed after waiting."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    batch = await reader.read(limit)
    while not (batch.events or reader.is_at_end) and loop.time() < began + SCAN_SECONDS:
        batch = await reader.read(limit)
    if batch.events or not wait:
        return batch
    with streams.waiting():
        while not batch.events and loop.time() < began + wait and not streams.is_ending:
            await reader.wait(began + wait - loop.time())
            batch = await reader.read(limit)
    return batch
