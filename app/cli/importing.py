"""The command that imports files of order lines, batches or counts."""

from __future__ import annotations

import asyncio
import csv
import json
import os
import signal
import sys
import time
from collections import Counter
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import click

from app.cli.running import load_settings, run_with_service

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

    from click._termui_impl import ProgressBar

    from app.bootstrap import Service
    from app.integration.file_rows import RowReader
    from app.operations.importer import RowResult
    from app.operations.line_source import LineSource

FORMATS = {".csv": "csv", ".ndjson": "ndjson", ".jsonl": "ndjson"}
STANDARD = Path("-")
SECONDS_BETWEEN_LINES = 10.0
COLUMNS = ("row", "key", "outcome", "detail")


@click.command(name="import")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False, allow_dash=True))
@click.option(
    "--format", "file_format", type=click.Choice(["csv", "ndjson"]), help="Default: by the file name extension."
)
@click.option(
    "--kind",
    type=click.Choice(["lines", "batches", "counts"]),
    help="The kind of the rows. Default: detected by their fields.",
)
@click.option(
    "--results",
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    help="The file for the result of each row, CSV or NDJSON. Default: FILE.results.csv or FILE.results.ndjson.",
)
@click.option("--ignore-unknown-columns", is_flag=True, help="Ignore unknown CSV columns.")
def import_command(
    file: Path, file_format: str | None, kind: str | None, results: Path | None, *, ignore_unknown_columns: bool
) -> None:
    """Import order lines, batches or counts from FILE (- for standard input).

    CSV has a header: order_id,sku,qty[,if_unavailable] or ref,sku,qty[,eta], or for counts
    sku,on_hand_qty[,expected_on_hand_qty] or ref,on_hand_qty[,shipped_qty], both with [,reason,reference]. It is
    separated by commas, semicolons or tabs. NDJSON has an object with these fields on each line, and the kinds can be
    mixed. Exits with 1 if any row failed. The import can run while the service runs, and can be repeated: rows that
    were imported before change nothing, except counts after shipments.
    """
    form = file_format or FORMATS.get(file.suffix.lower())
    if form is None:
        raise click.UsageError(f"{file} does not end in .csv or .ndjson; use --format csv or --format ndjson")
    results = results or (STANDARD if file == STANDARD else file.with_suffix(f".results.{form}"))
    if file != STANDARD and results.resolve() == file.resolve():
        raise click.UsageError(f"the results would overwrite {file}; use --results with another name")
    settings = load_settings()

    async def run(service: Service) -> None:
        with ExitStack() as stack:
            descriptor = 0
            if file != STANDARD:
                descriptor = os.open(file, os.O_RDONLY)
                stack.callback(os.close, descriptor)
            importing = _Run(service, descriptor, form, kind, results, ignore_unknown=ignore_unknown_columns)
            await importing.run(stack)

    run_with_service(settings, run)


class _Run:
    """One import, from the first line to the summary."""

    def __init__(
        self,
        service: Service,
        descriptor: int,
        form: str,
        kind: str | None,
        results: Path,
        *,
        ignore_unknown: bool,
    ) -> None:
        from app.operations.line_source import LineSource

        self._service = service
        self._form = form
        self._kind = kind
        self._results = results
        self._ignore_unknown = ignore_unknown
        self._stopping = asyncio.Event()
        self._source = LineSource(descriptor, self._stopping)
        self._counts: Counter[str] = Counter()
        self._failures = 0

    async def run(self, stack: ExitStack) -> None:
        """Import all rows, until the end of the file or a signal."""
        from app.adapters.postgresql import schema
        from app.operations.importer import Importer

        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._stopping.set)
        blocks = self._source.blocks()
        read, row, lines = await self._begin(blocks)
        fault = await schema.check(self._service.engine, cells=self._service.settings.cells)
        if fault is not None:
            raise click.ClickException(fault)
        settings = self._service.settings
        importer = Importer(
            self._service.bus,
            read,
            lanes=settings.bus_workers,
            group_limit=settings.bus_group_limit,
            stopping=self._stopping,
            cells=self._service.cells.map,
        )
        file = stack.enter_context(_opened(self._results))
        write = _writer(file, self._results, self._form)
        progress = stack.enter_context(closing(_Progress(self._source)))
        while lines is not None:
            answered = await importer.run(row, lines)
            row += len(lines)
            write(answered)
            file.flush()
            self._counts.update(result.outcome for result in answered)
            self._failures += sum(result.failed for result in answered)
            progress.show(self._counts.total())
            lines = await anext(blocks, None)
        progress.close()
        self._end(progress.seconds, row - 1)

    async def _begin(self, blocks: AsyncIterator[list[bytes]]) -> tuple[RowReader, int, list[bytes] | None]:
        """The reader of the rows, the number of the first row, and the first block of lines."""
        from app.integration.file_rows import UnreadableFileError, csv_reader, is_blank, ndjson_reader, separator_of

        lines = await anext(blocks, None)
        if self._form == "ndjson" and lines is not None:
            return ndjson_reader(self._kind), 1, lines
        # The first line of CSV is row 1, as a spreadsheet shows it.
        row, separator = 1, None
        while lines is not None:
            if not lines:
                lines = await anext(blocks, None)
                continue
            first = lines.pop(0)
            row += 1
            found = separator_of(first)
            separator = found or separator
            if found is None and not is_blank(first):
                try:
                    return (
                        csv_reader(first, self._kind, separator=separator, ignore_unknown=self._ignore_unknown),
                        row,
                        lines,
                    )
                except UnreadableFileError as error:
                    raise click.UsageError(str(error)) from None
        if self._stopping.is_set():
            raise click.Abort
        raise click.UsageError("the file is empty")

    def _end(self, seconds: float, last_row: int) -> None:
        total = self._counts.total()
        outcomes = ", ".join(f"{count:,} {outcome}" for outcome, count in self._counts.most_common()) or "nothing"
        summary = f"{total:,} rows in {seconds:.1f} s ({total / max(seconds, 1e-9):,.0f}/s): {outcomes}"
        if self._results != STANDARD:
            summary += f"; see {self._results}"
        if not self._source.has_ended:
            click.echo(f"allocation: stopped after row {last_row}, run it again for the rest; {summary}", err=True)
            raise click.Abort
        if self._failures:
            raise click.ClickException(summary)
        click.echo(summary, err=True)


class _Progress:
    """The progress: a bar on a terminal, otherwise a line every few seconds."""

    def __init__(self, source: LineSource) -> None:
        self._source = source
        self._started = self._reported = time.monotonic()
        self._rows = 0
        self._bar: ProgressBar[object] | None = None
        if source.size and sys.stderr.isatty():
            self._bar = click.progressbar(
                length=source.size, file=sys.stderr, label="import", item_show_func=lambda _: self._rate()
            )
            self._bar.render_progress()

    @property
    def seconds(self) -> float:
        """The seconds since the start."""
        return time.monotonic() - self._started

    def show(self, rows: int) -> None:
        """Update the progress to the number of rows."""
        self._rows = rows
        if self._bar is not None:
            self._bar.update(self._source.position - self._bar.pos)
        elif time.monotonic() - self._reported >= SECONDS_BETWEEN_LINES:
            self._reported = time.monotonic()
            click.echo(f"import: {self._rate()}{self._left()}", err=True)

    def close(self) -> None:
        """End the line of the bar."""
        if self._bar is not None:
            self._bar.render_finish()
            self._bar = None

    def _rate(self) -> str:
        return f"{self._rows:,} rows, {self._rows / max(self.seconds, 1e-9):,.0f}/s"

    def _left(self) -> str:
        if not self._source.size or not self._source.position:
            return ""
        return f", {self.seconds * (self._source.size / self._source.position - 1):,.0f} s left"


def _opened(results: Path) -> TextIO:
    if results == STANDARD:
        return os.fdopen(os.dup(1), "w", encoding="utf-8", newline="")
    return results.open("w", encoding="utf-8", newline="")


def _writer(file: TextIO, results: Path, form: str) -> Callable[[Iterable[RowResult]], None]:
    """A function that writes results, in the format of the file name, or else in that of the rows."""
    if FORMATS.get(results.suffix.lower(), form) == "csv":
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(COLUMNS)
        return lambda found: rows.writerows((each.row, each.key, each.outcome, each.detail) for each in found)

    def write(found: Iterable[RowResult]) -> None:
        for each in found:
            content = {name: getattr(each, name) for name in COLUMNS}
            file.write(json.dumps(content, ensure_ascii=False, separators=(",", ":")) + "\n")

    return write
