"""Rows of a file as commands: CSV with a header, or NDJSON (a JSON object on each line).

Each line is a row. No field can contain a line break, so an unclosed quote affects only its own row.
"""

import csv
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from app.domain.commands import Allocate, Command, CountBatch, CountProduct, CreateBatch
from app.integration.json_syntax import MalformedJsonError, parse_json

ROW_KINDS: dict[str, tuple[type[Command], ...]] = {
    "lines": (Allocate,),
    "batches": (CreateBatch,),
    "counts": (CountBatch, CountProduct),
}

LONGEST_ROW = 65_536
"""Bytes. A row with the longest possible identifiers has about 600."""

_HOLD = "hold_for"
_NO_HOLDS = "an imported line cannot be held; POST /v1/orders and /v1/allocations hold stock"

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_MODELS = tuple(model for models in ROW_KINDS.values() for model in models)
_WHOLE_NUMBER = re.compile(r"-?[0-9]{1,18}")

RowReader = Callable[[bytes], Command | None]
"""Returns the command of a line without its line feed, or None for a blank row. Raises UnreadableRowError."""

_SEPARATORS = (",", ";", "\t")
_SEPARATOR_LINE = re.compile(rb"\s*\"?sep=([,;\t])\"?\s*", re.IGNORECASE)
_OTHER_ENCODINGS = (b"\xff\xfe", b"\xfe\xff")
_FLAGS = {"true": True, "false": False}
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


class UnreadableRowError(Exception):
    """A row is not valid, for the reason in the message."""


class UnreadableFileError(Exception):
    """The header does not define the rows. The message gives the reason."""


def separator_of(line: bytes) -> str | None:
    """The separator in a line `sep=;`, which Excel writes before the header; None for any other line."""
    found = _SEPARATOR_LINE.fullmatch(line.removeprefix(_BYTE_ORDER_MARK))
    return found[1].decode() if found else None


def is_blank(line: bytes) -> bool:
    """Whether the line contains nothing but separators."""
    return not line.removeprefix(_BYTE_ORDER_MARK).strip(b',;\t \r"')


def csv_reader(
    header: bytes, kind: str | None = None, *, separator: str | None = None, ignore_unknown: bool = False
) -> RowReader:
    """A reader of the rows below the header, which names the fields of one kind of command in any order.

    Names are case-insensitive, and blanks around them are ignored. The separator is a comma, a semicolon or a tab,
    detected from the header. Columns without a name must be empty. An empty cell is a field that is left out. Raises
    UnreadableFileError, also for an unknown column unless `ignore_unknown`.
    """
    if header.startswith(_OTHER_ENCODINGS):
        raise UnreadableFileError("the header cannot be read: the file is UTF-16; save it as CSV UTF-8")
    try:
        separator, names = _columns(header.removeprefix(_BYTE_ORDER_MARK), separator)
    except UnreadableRowError as error:
        raise UnreadableFileError(f"the header cannot be read: {error}") from None
    if _HOLD in names:
        # Not even with `ignore_unknown`: a line that should be held must not become firm.
        raise UnreadableFileError(f"the header has {_HOLD}: {_NO_HOLDS}")
    model = _kind_of_columns([name for name in names if name], kind, ignore_unknown=ignore_unknown)
    adapter: TypeAdapter[Command] = TypeAdapter(model)
    known = _fields_of(model)
    fewest = max(number for number, name in enumerate(names, start=1) if name)

    def read(line: bytes) -> Command | None:
        cells = _cells(line, separator)
        if not any(cell.strip() for cell in cells):
            return None
        if not fewest <= len(cells) <= len(names):
            raise UnreadableRowError(f"the row has {len(cells)} columns, the header {len(names)}")
        fields: dict[str, Any] = {}
        for number, (name, cell) in enumerate(zip(names, cells, strict=False), start=1):
            if not name and cell.strip():
                raise UnreadableRowError(f"column {number} has no name in the header and is not empty")
            if name in known and cell:
                fields[name] = _value(name, cell)
        return _validated(adapter, fields)

    return read


def _columns(header: bytes, separator: str | None) -> tuple[str, list[str]]:
    """The separator and the names of the columns: of several readings, the one with the most known names."""
    readings = []
    fault: UnreadableRowError | None = None
    for candidate in _SEPARATORS if separator is None else (separator,):
        try:
            names = [name.strip().lower() for name in _cells(header, candidate)]
        except UnreadableRowError as error:
            fault = fault or error
            continue
        known = max(len(set(names) & _fields_of(model).keys()) for model in _MODELS)
        readings.append((known, candidate, names))
    if fault is not None and not readings:
        raise fault
    _, found, names = max(readings, key=lambda reading: reading[0])
    return found, names


def ndjson_reader(kind: str | None = None) -> RowReader:
    """A reader of objects of one kind, or of all kinds: a count has an `on_hand_qty`, a batch a `ref` and no count."""
    adapters: dict[type[Command], TypeAdapter[Command]] = {model: TypeAdapter(model) for model in _MODELS}

    def read(line: bytes) -> Command:
        _check_length(line)
        try:
            fields = parse_json(line.removeprefix(_BYTE_ORDER_MARK))
        except MalformedJsonError as error:
            raise UnreadableRowError(f"the row is not JSON: {error}") from None
        if not isinstance(fields, dict):
            raise UnreadableRowError("the row is not a JSON object")
        return _validated(adapters[_model_of(fields, kind)], fields)

    return read


@cache
def _fields_of(model: type[Command]) -> dict[str, FieldInfo]:
    """The fields of a command under the names that callers use."""
    return {facts.alias or name: facts for name, facts in model.model_fields.items()}


def _value(name: str, cell: str) -> Any:  # noqa: ANN401 - what the field holds
    """The value of a cell. Locations are separated by spaces."""
    if name == "from":
        return cell.split()
    if name == "blocked" and cell.lower() in _FLAGS:
        return _FLAGS[cell.lower()]
    return int(cell) if name.endswith(("qty", "priority")) and _WHOLE_NUMBER.fullmatch(cell) else cell


def _model_of(fields: Mapping[str, Any], kind: str | None) -> type[Command]:
    if kind is None:
        kind = "counts" if "on_hand_qty" in fields else "batches" if "ref" in fields else "lines"
    if kind == "counts":
        return CountBatch if "ref" in fields else CountProduct
    return ROW_KINDS[kind][0]


def _kind_of_columns(columns: Sequence[str], kind: str | None, *, ignore_unknown: bool) -> type[Command]:
    asked = ROW_KINDS[kind] if kind is not None else _MODELS
    unknown = {
        model: set(columns) - _fields_of(model).keys()
        for model in asked
        if {name for name, facts in _fields_of(model).items() if facts.is_required()} <= set(columns)
    }
    fitting = [model for model, names in unknown.items() if not names or ignore_unknown]
    # A file of lines or batches may have a column with the name of a count, which is left out.
    fitting = [model for model in fitting if model not in ROW_KINDS["counts"]] or fitting
    twice = {column for column in columns if columns.count(column) > 1}
    if len(fitting) == 1 and not twice & _fields_of(fitting[0]).keys():
        return fitting[0]
    kinds = [name for name, models in ROW_KINDS.items() if not set(models).isdisjoint(fitting)]
    if len(kinds) > 1:
        options = " or ".join(f"--kind {name}" for name in kinds)
        raise UnreadableFileError(f"the header fits {' and '.join(kinds)}; use {options}")
    if len(fitting) > 1:
        raise UnreadableFileError("the header fits counts of batches and of products; keep either ref or sku")
    wanted = " or ".join(",".join(_required_first(model)) for model in asked)
    message = f"the header has to be {wanted}, not {','.join(columns)[:200]}"
    if twice:
        message += f"; named twice: {','.join(sorted(twice))[:200]}"
    elif unknown:
        names = min(unknown.values(), key=len)
        message += f"; unknown: {','.join(sorted(names))[:200]} (--ignore-unknown-columns leaves them out)"
    raise UnreadableFileError(message)


def _required_first(model: type[Command]) -> list[str]:
    fields = _fields_of(model)
    return sorted((name for name in fields if name != _HOLD), key=lambda name: not fields[name].is_required())


def _cells(line: bytes, separator: str) -> list[str]:
    _check_length(line)
    try:
        text = line.removesuffix(b"\r").decode()
    except UnicodeDecodeError:
        raise UnreadableRowError("the row is not UTF-8") from None
    if '"' not in text:
        return text.split(separator)
    try:
        return next(csv.reader([text], delimiter=separator, strict=True))
    except csv.Error as error:
        raise UnreadableRowError(f"the row is not CSV: {error}") from None


def _check_length(line: bytes) -> None:
    if len(line) > LONGEST_ROW:
        raise UnreadableRowError(f"the row is longer than {LONGEST_ROW} bytes")


def _validated(adapter: TypeAdapter[Command], fields: dict[str, Any]) -> Command:
    if _HOLD in fields:
        raise UnreadableRowError(f"{_HOLD}: {_NO_HOLDS}")
    for name in ("eta", "best_before", "good_until"):
        day = fields.get(name)
        if isinstance(day, str) and not _DATE.fullmatch(day):
            raise UnreadableRowError(f"{name}: a date has the form YYYY-MM-DD, such as 2030-12-31, not {day[:40]}")
    try:
        return adapter.validate_python(fields)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_context=False, include_input=False)
        raise UnreadableRowError("; ".join(f"{fault['loc'][0]}: {fault['msg']}" for fault in faults)) from None
