"""The ids of the events of a transaction, drawn in blocks.

A process assigns the ids itself, so that the statement which writes the events and their rows of the outbox knows them,
and none of its parts reads another. The sequence counts blocks: each value is the first id of `BLOCK` ids.

With several cells the sequence gives only a part of the id. On Citus each server has a sequence of its own with a range
of its own, so after a move of a cell its ids would fall. So ids begin with the time of the server that has the cell:
they ascend over all cells and servers, as far as their clocks agree. What has to be exact does not depend on them: see
outbox_order.py.
"""

from app.adapters.postgresql.pipelined_connection import PipelinedConnection
from app.adapters.postgresql.tables import EVENT_IDS_IN_A_BLOCK as BLOCK

# A transaction that draws ids holds the lock ROW EXCLUSIVE on `events` from before it draws them until it ends, so that
# the relay knows it (outbox_horizon.py). The next release can leave the DELETE out: the draw locks the sequence in the
# same way, and from this release on the relay looks at both locks.
LOCK_EVENTS = "WITH writer AS (DELETE FROM events WHERE false)"
NEXT_BLOCK = "nextval('events_id_seq')"
_DRAW = f"{LOCK_EVENTS} SELECT {NEXT_BLOCK}"

# Milliseconds since 2026 (40 bits, up to 2060), then 10 bits of the number of the block, then `BLOCK` ids. 1,024 blocks
# cannot be drawn in a millisecond.
NEXT_BLOCK_BY_TIME = f"""(
    ((extract(epoch FROM clock_timestamp() - timestamptz '2026-01-01 00:00:00Z') * 1000)::bigint << 23)
    | ((nextval('events_id_seq') / {BLOCK} % 1024) << 13)
)"""


class EventIds:
    """Ids for the events of one transaction. For one subject their order is that of the commits.

    For this, a block is drawn after the last lock of the transaction on a cart, an order or a product.
    """

    def __init__(self, connection: PipelinedConnection) -> None:
        self._connection = connection
        self._ids = range(0)

    def start(self, first: int) -> None:
        """Take the ids from the block that begins with `first`, drawn after the latest lock."""
        self._ids = range(first, first + BLOCK)

    async def take(self, number: int) -> list[int]:
        """The next ids, in ascending order. Draws further blocks where this one has too few."""
        taken: list[int] = []
        while len(taken) < number:
            if not self._ids:
                self.start(await self._connection.fetchval(_DRAW))
            missing = number - len(taken)
            taken += self._ids[:missing]
            self._ids = self._ids[missing:]
        return taken
