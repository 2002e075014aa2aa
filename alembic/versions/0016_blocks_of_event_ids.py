"""The ids of events are drawn in blocks: a process numbers the events of a transaction itself.

Revision: 0016, after 0015
"""

from alembic import op

revision: str = "0016"
down_revision: str | None = "0015"
branch_labels: str | None = None
depends_on: str | None = None

_SEQUENCE = "events_id_seq"
_TAKE_BLOCKS = """
    DO $$ BEGIN
        IF (SELECT seqincrement FROM pg_sequence WHERE seqrelid = 'events_id_seq'::regclass) <> 8192 THEN
            ALTER SEQUENCE events_id_seq INCREMENT BY 8192;
        END IF;
    END $$
"""


def upgrade() -> None:
    # The release before takes one id of each block. The statement locks the sequence, and not the table. 0005 creates
    # the sequence of a new table with these steps, because Citus does not change a sequence.
    op.execute(_TAKE_BLOCKS)


def downgrade() -> None:
    # The ids of the last block may be in use.
    op.execute(f"SELECT nextval('{_SEQUENCE}')")
    op.execute(f"ALTER SEQUENCE {_SEQUENCE} INCREMENT BY 1")
