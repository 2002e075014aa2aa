"""A way past records that aiokafka cannot read: those with a header whose name is no UTF-8.

aiokafka stops for good at such a record, and with it everything behind, although Kafka itself takes any bytes. Its
parser in Python can be taught to be tolerant. The one in C is faster, so this is for a process that has met one.
"""

# mypy: disable-error-code="misc, has-type"
# ruff: noqa: ANN401, SLF001 - the parser has no public face

from typing import Any

from aiokafka.consumer import fetcher
from aiokafka.record import default_records, memory_records


class _TolerantBytes(bytearray):
    """Bytes whose parts decode to text even where they are no UTF-8."""

    def __getitem__(self, index: Any) -> Any:
        part = super().__getitem__(index)
        return _TolerantBytes(part) if isinstance(index, slice) else part

    def decode(self, encoding: str = "utf-8", errors: str = "surrogateescape") -> str:
        """The text; what is no UTF-8 stands in it as lone surrogates."""
        return super().decode(encoding, errors)


class _TolerantRecordBatch(default_records._DefaultRecordBatchPy):
    """A batch of records that can be read whatever the names of their headers are."""

    def _read_msg(self, *arguments: Any) -> Any:
        if not isinstance(self._buffer, _TolerantBytes):
            self._buffer = _TolerantBytes(self._buffer)
        return super()._read_msg(*arguments)


def tolerate_any_header_name() -> None:
    """Read every record from now on with the tolerant parser."""
    memory_records.DefaultRecordBatch = _TolerantRecordBatch
    fetcher.MemoryRecords = memory_records._MemoryRecordsPy
