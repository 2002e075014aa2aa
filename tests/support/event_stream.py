"""A client of server-sent events."""

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

Json = dict[str, Any]


@dataclass(frozen=True)
class Message:
    """A server-sent event."""

    id: str
    event: str
    data: Json


@dataclass
class Stream:
    """An open stream. `retry` is in milliseconds."""

    response: httpx.Response
    retry: int | None = None
    last_id: str = ""
    messages: AsyncIterator[Message] = field(init=False)

    def __post_init__(self) -> None:
        self.messages = self._parse()

    async def next(self) -> Message:
        """The next message."""
        return await anext(self.messages)

    async def events(self, count: int) -> list[Json]:
        """The next events, without pings."""
        found: list[Json] = []
        while len(found) < count:
            message = await self.next()
            assert message.event != "end", message
            if message.event != "ping":
                found.append(message.data)
        return found

    async def end(self) -> str:
        """The reason for which the stream ends, and its end."""
        rest = [message async for message in self.messages]
        assert [message.event for message in rest].index("end") == len(rest) - 1
        reason: str = rest[-1].data["reason"]
        return reason

    async def _parse(self) -> AsyncIterator[Message]:
        fields: dict[str, str] = {}
        async for line in self.response.aiter_lines():
            if line:
                name, _, value = line.partition(": ")
                assert name not in fields
                fields[name] = value
                continue
            if "retry" in fields:
                self.retry = int(fields.pop("retry"))
            message = Message(fields["id"], fields["event"], json.loads(fields["data"]))
            fields = {}
            self.last_id = message.id
            yield message


@asynccontextmanager
async def streaming(
    client: httpx.AsyncClient,
    path: str = "/v1/events/stream",
    *,
    headers: dict[str, str] | None = None,
    **parameters: str | int,
) -> AsyncIterator[Stream]:
    """An open stream."""
    async with client.stream("GET", path, params=parameters, headers=headers) as response:
        if response.status_code != 200:
            await response.aread()
        assert response.status_code == 200, response.text
        assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
        yield Stream(response)


def sequences_of(events: Sequence[Json]) -> list[int]:
    """The sequences of the events."""
    return [int(each["sequence"]) for each in events]
