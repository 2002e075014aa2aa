"""Reads the refs of batches and the batches, which may be in different cells.

A ref and its batch are written in one transaction and never deleted. So what was read on one side can be read on the
other side afterwards. Only where the cells are on different servers, one side may show a moment later.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping

from sqlalchemy import TextClause, text

from app.adapters.postgresql.cells import Cells
from app.adapters.postgresql.connections import begin, connect

_PAGE = "SELECT ref, sku FROM {table} WHERE ref > :after ORDER BY ref LIMIT :limit"
_NAMED = "SELECT ref, sku FROM {table} WHERE ref = ANY(CAST(:refs AS text[]))"
_PAGE_OF_BATCHES, _NAMED_BATCHES = (text(sql.format(table="batches")) for sql in (_PAGE, _NAMED))
_PAGE_OF_REFS, _NAMED_REFS = (text(sql.format(table="batch_refs")) for sql in (_PAGE, _NAMED))
_INSERT = text("INSERT INTO batch_refs (ref, sku) VALUES (:ref, :sku) ON CONFLICT DO NOTHING")

Refs = dict[str, str]
"""The SKU of each ref."""


class RefStore:
    """Each method raises DatabaseUnavailableError."""

    def __init__(self, cells: Cells) -> None:
        self._cells = cells

    async def batches(self, cell: int, after: str, limit: int) -> Refs:
        """The next batches of the cell, by ref."""
        return await self._read(cell, _PAGE_OF_BATCHES, after=after, limit=limit)

    async def refs(self, cell: int, after: str, limit: int) -> Refs:
        """The next refs of the cell."""
        return await self._read(cell, _PAGE_OF_REFS, after=after, limit=limit)

    async def refs_of(self, batches: Mapping[str, str]) -> Refs:
        """Those of the batches that have a ref, each with the SKU that the ref names."""
        return await self._look_up(_NAMED_REFS, ((ref, ref) for ref in batches))

    async def batches_of(self, refs: Mapping[str, str]) -> Refs:
        """Those of the refs that have a batch in the cell of their SKU, each with the SKU of the batch."""
        return await self._look_up(_NAMED_BATCHES, refs.items())

    async def insert(self, ref: str, sku: str) -> bool:
        """Insert the ref of a batch. Returns False if the ref has a SKU already."""
        async with begin(self._cells.engine_of(ref)) as connection:
            return (await connection.execute(_INSERT, {"ref": ref, "sku": sku})).rowcount > 0

    async def _look_up(self, statement: TextClause, named: Iterable[tuple[str, str]]) -> Refs:
        """The rows for the refs, each in the cell of the name beside it."""
        refs_in: defaultdict[int, list[str]] = defaultdict(list)
        for ref, name in named:
            refs_in[self._cells.map.of(name)].append(ref)
        found: Refs = {}
        for cell, refs in refs_in.items():
            found |= await self._read(cell, statement, refs=refs)
        return found

    async def _read(self, cell: int, statement: TextClause, **arguments: object) -> Refs:
        async with connect(self._cells.engines[cell]) as connection:
            return {row.ref: row.sku for row in await connection.execute(statement, arguments)}
