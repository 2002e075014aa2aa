"""Reads records that aiokafka cannot read: those with a header whose name is not UTF-8.

Kafka accepts any bytes in the name, but aiokafka cannot read past such a record. This module makes its parser in Python
tolerant. The parser in C is faster, so only a process that has received such a record uses this one.
"""

# mypy: disable-error-code="misc, has-type"
# ruff: noqa: ANN401, SLF001 - the parser has no public face

from typing import Any

from aiokafka.consumer import fetcher
from aiokafka.record import default_records, memory_records


class _TolerantBytes(bytearray):
    """Bytes whose slices decode to text even if they are not UTF-8."""

    def __getitem__(self, index: Any) -> Any:
        part = super().__getitem__(index)
        return _TolerantBytes(part) if isinstance(index, slice) else part

    def decode(self, encoding: str = "utf-8", errors: str = "surrogateescape") -> str:
        """The text, with lone surrogates for bytes that are not UTF-8."""
        return super().decode(encoding, errors)


class _TolerantRecordBatch(default_records._DefaultRecordBatchPy):
    """A batch of records whose headers may have any names."""

    def _read_msg(self, *arguments: Any) -> Any:
        if not isinstance(self._buffer, _TolerantBytes):
            self._buffer = _TolerantBytes(self._buffer)
        return super()._read_msg(*arguments)


def tolerate_any_header_name() -> None:
    """Use the tolerant parser for all records from now on, in the whole process."""
    memory_records.DefaultRecordBatch = _TolerantRecordBatch
    fetcher.MemoryRecords = memory_records._MemoryRecordsPy
