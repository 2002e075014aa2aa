"""Rows of a file that become commands: CSV with a header, or a JSON object on each line (NDJSON).

A line of the file is a row: no field can hold a line break, so an unclosed quote spoils its own row and no other.
"""

import csv
import re
from collections.abc import Callable, Sequence
from typing import Any

from pydantic import TypeAdapter, ValidationError

from app.domain.commands import Allocate, Command, CreateBatch
from app.integration.json_syntax import MalformedJsonError, parse_json

ROW_KINDS: dict[str, type[Command]] = {"lines": Allocate, "batches": CreateBatch}

LONGEST_ROW = 65_536
"""Bytes. The longest names there can be make some 600."""

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_WHOLE_NUMBER = re.compile(r"-?[0-9]{1,18}")

RowReader = Callable[[bytes], Command]
"""Makes a command of a line without its line feed. Raises UnreadableRowError."""


class UnreadableRowError(Exception):
    """A row is not what it should be; the message says why."""


class UnreadableFileError(Exception):
    """The first line does not tell what the rows are; the message says why."""


def csv_reader(header: bytes, kind: str | None = None) -> RowReader:
    """Reads the rows under the header, which names the fields of one kind of command in any order.

    A cell that is empty stands for a field that is left out. Raises UnreadableFileError.
    """
    try:
        columns = _cells(header.removeprefix(_BYTE_ORDER_MARK))
    except UnreadableRowError as error:
        raise UnreadableFileError(f"the header cannot be read: {error}") from None
    adapter: TypeAdapter[Command] = TypeAdapter(_kind_of_columns(columns, kind))

    def read(line: bytes) -> Command:
        cells = _cells(line)
        if len(cells) != len(columns):
            raise UnreadableRowError(f"the row has {len(cells)} columns, the header {len(columns)}")
        fields: dict[str, Any] = {name: cell for name, cell in zip(columns, cells, strict=True) if cell}
        qty = fields.get("qty", "")
        if _WHOLE_NUMBER.fullmatch(qty):
            fields["qty"] = int(qty)
        return _validated(adapter, fields)

    return read


def ndjson_reader(kind: str | None = None) -> RowReader:
    """Reads objects of one kind, or of either: a batch has a `ref`, an order line has none."""
    adapters: dict[str, TypeAdapter[Command]] = {name: TypeAdapter(model) for name, model in ROW_KINDS.items()}

    def read(line: bytes) -> Command:
        _check_length(line)
        try:
            fields = parse_json(line.removeprefix(_BYTE_ORDER_MARK))
        except MalformedJsonError as error:
            raise UnreadableRowError(f"the row is not JSON: {error}") from None
        if not isinstance(fields, dict):
            raise UnreadableRowError("the row is no JSON object")
        return _validated(adapters[kind or ("batches" if "ref" in fields else "lines")], fields)

    return read


def _kind_of_columns(columns: Sequence[str], kind: str | None) -> type[Command]:
    for name, model in ROW_KINDS.items():
        known = model.model_fields
        required = {field for field, facts in known.items() if facts.is_required()}
        if kind in {None, name} and required <= set(columns) <= set(known) and len(columns) == len(set(columns)):
            return model
    wanted = " or ".join(",".join(model.model_fields) for name, model in ROW_KINDS.items() if kind in {None, name})
    raise UnreadableFileError(f"the header has to be {wanted}, not {','.join(columns)[:200]}")


def _cells(line: bytes) -> list[str]:
    _check_length(line)
    try:
        text = line.removesuffix(b"\r").decode()
    except UnicodeDecodeError:
        raise UnreadableRowError("the row is not UTF-8") from None
    if '"' not in text:
        return text.split(",")
    try:
        return next(csv.reader([text], strict=True))
    except csv.Error as error:
        raise UnreadableRowError(f"the row is not CSV: {error}") from None


def _check_length(line: bytes) -> None:
    if len(line) > LONGEST_ROW:
        raise UnreadableRowError(f"the row is longer than {LONGEST_ROW} bytes")


def _validated(adapter: TypeAdapter[Command], fields: dict[str, Any]) -> Command:
    try:
        return adapter.validate_python(fields)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_context=False, include_input=False)
        raise UnreadableRowError("; ".join(f"{fault['loc'][0]}: {fault['msg']}" for fault in faults)) from None
