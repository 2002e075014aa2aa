"""Makes one result of the results of several cells. The result of a single cell stays as the database ordered it."""

import heapq
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from operator import attrgetter
from typing import Any, TypeVar

from sqlalchemy import Row

from app.read_model.pagination import COUNT_LIMIT
from app.read_model.reader import Rows

Item = TypeVar("Item")


def merged(parts: Sequence[Sequence[Item]], key: Callable[[Item], Any]) -> Sequence[Item]:
    """The items of all parts by the key, which has to compare as the database does.

    Identifiers do: they are ASCII, and their collation is "C".
    """
    if len(parts) == 1:
        return parts[0]
    return sorted(chain.from_iterable(parts), key=key)


def newest_first(parts: Sequence[Rows], subject: Callable[[Row[Any]], str]) -> Rows:
    """The events of all parts, from rows with `COLUMNS` of the history: those of a subject by sequence, others by time.

    Ids are of no use here, because each cell draws its own. Times are those of several servers, so the order of a
    subject does not depend on them.
    """
    if len(parts) == 1:
        return parts[0]
    of_subject: dict[str, list[Row[Any]]] = {}
    for row in chain.from_iterable(parts):
        of_subject.setdefault(subject(row), []).append(row)
    runs = (sorted(rows, key=attrgetter("number"), reverse=True) for rows in of_subject.values())
    return list(heapq.merge(*runs, key=attrgetter("created_at"), reverse=True))


def total(parts: Iterable[tuple[int, int]]) -> tuple[int, bool]:
    """A count up to `COUNT_LIMIT`, and whether it is exact.

    Each part is how many entries match, and how many were examined: more than the limit if there may be others.
    """
    counts = list(parts)
    matching = sum(found for found, _ in counts)
    has_all = all(examined <= COUNT_LIMIT for _, examined in counts)
    return min(matching, COUNT_LIMIT), has_all and matching <= COUNT_LIMIT
