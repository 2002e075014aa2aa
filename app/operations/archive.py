"""Moves old events from the database to a file, and back.

A file is gzip-compressed NDJSON: each line has an event as an object of its columns, one cell after another, in the
order of their ids. It is complete and on the disk before the first event is deleted, so an interrupted run loses
nothing.
"""

import gzip
import hashlib
import os
from collections.abc import Iterator
from datetime import date, datetime
from itertools import islice
from pathlib import Path

from app.adapters.postgresql.event_archives import PAGE, Archive, EventArchives, Part


class ArchiveError(Exception):
    """An archive cannot be made or restored. The text says why, and what to do. Nothing has changed."""


async def create(archives: EventArchives, file: Path, day: date) -> Archive | None:
    """Move the events before the day (UTC) to a new file. Returns None if there are no such events.

    Raises ArchiveError, OSError and DatabaseUnavailableError.
    """
    await finish(archives)
    known = await archives.day(day)
    # Events of the last hours may belong to transactions that have not committed. They would be deleted unread.
    if not known.is_past:
        message = f"{day} is not before today (UTC); name an earlier day"
        raise ArchiveError(message)
    if known.unpublished:
        message = f"{known.unpublished} events before {day} are not published yet; start a relay and repeat the command"
        raise ArchiveError(message)
    _refuse_existing(file)
    partial = file.with_name(f"{file.name}.partial")
    try:
        parts = await _write(archives, partial, known.time)
        if not parts:
            return None
        digest = _digest(partial)
        # Unlike a rename, a link does not replace a file that was made meanwhile.
        os.link(partial, file)
    finally:
        partial.unlink(missing_ok=True)
    _flush(file.parent)
    await archives.note(file.name, known.time, digest, parts)
    await finish(archives)
    return (await archives.archives())[-1]


async def finish(archives: EventArchives) -> int:
    """Delete the archived events that an interrupted run has left. Returns how many there were."""
    deleted = 0
    for cell in archives.cells:
        last_id = await archives.last_id(cell)
        if last_id is not None:
            deleted += await archives.delete(cell, last_id)
    return deleted


async def restore(archives: EventArchives, file: Path) -> Archive:
    """Insert the events of a file again. The newest archive has to be restored first: events have no gaps.

    Raises ArchiveError, OSError and DatabaseUnavailableError.
    """
    made = await archives.archives()
    digest = _digest(file)
    archive = next((each for each in made if each.digest == digest), None)
    if archive is None:
        message = f"{file} is not an archive of this database, has changed since, or has been restored"
        raise ArchiveError(message)
    if archive != made[-1]:
        message = f"{made[-1].file} was made after {archive.file}; restore {made[-1].file} first"
        raise ArchiveError(message)
    for page in _pages(file):
        await archives.insert(page)
    await archives.forget(archive)
    return archive


async def _write(archives: EventArchives, path: Path, before: datetime) -> list[Part]:
    """Write the events to the file, until they are on the disk. Returns what it has of each cell that has some."""
    parts = []
    # Without a time in its header, the same events give the same file.
    with path.open("wb") as raw, gzip.GzipFile(filename="", fileobj=raw, mode="wb", mtime=0) as packed:
        for cell in archives.cells:
            last_id = events = 0
            async for page in archives.pages(cell, before):
                packed.writelines(f"{event}\n".encode() for _, event in page)
                last_id = page[-1][0]
                events += len(page)
            if events:
                parts.append(Part(cell, last_id, events))
        packed.close()
        raw.flush()
        os.fsync(raw.fileno())
    return parts


def _refuse_existing(path: Path) -> None:
    if path.exists():
        message = f"{path} exists; name a new file"
        raise ArchiveError(message)


def _pages(path: Path) -> Iterator[list[str]]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        while page := list(islice(lines, PAGE)):
            yield page


def _digest(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def _flush(folder: Path) -> None:
    """Until the name of a new file in the folder is on the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
