"""Whole lists as CSV. Pages of the list are read while the file is sent, so its length needs no memory."""

import csv
import io
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import fields
from datetime import datetime, tzinfo
from typing import Any

from fastapi.responses import StreamingResponse

from app.entrypoints.http.board.rendering import HEADERS
from app.read_model.pagination import MOST_ITEMS, Page

ReadPage = Callable[[int, str | None], Awaitable[Page]]


def whole_list(name: str, item: type, first: Page, read: ReadPage, zone: tzinfo) -> StreamingResponse:
    """All items of a list whose first page was read. An error while it is sent breaks the connection.

    Times are those of the zone, with their distance from UTC.
    """
    headers = HEADERS | {"Content-Disposition": f'attachment; filename="{name}.csv"'}
    return StreamingResponse(_lines(item, first, read, zone), media_type="text/csv; charset=utf-8", headers=headers)


async def _lines(item: type, page: Page, read: ReadPage, zone: tzinfo) -> AsyncIterator[str]:
    columns = [each.name for each in fields(item)]
    yield _encoded([columns])
    while True:
        yield _encoded([[_text(getattr(each, column), zone) for column in columns] for each in page.items])
        if page.next_cursor is None:
            return
        page = await read(MOST_ITEMS, page.next_cursor)


def _encoded(rows: list[list[str]]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer).writerows(rows)
    return buffer.getvalue()


def _text(value: Any, zone: tzinfo) -> str:  # noqa: ANN401 - the field of an item
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    text = value.astimezone(zone).isoformat() if isinstance(value, datetime) else str(value)
    # A spreadsheet would run such text as a formula.
    return f"'{text}" if isinstance(value, str) and text.startswith(("=", "+", "-", "@")) else text
