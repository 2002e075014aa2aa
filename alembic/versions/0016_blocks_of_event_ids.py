"""The ids of events are drawn in blocks: a process numbers the events of a transaction itself.

Revision: 0016, after 0015
"""

from alembic import op

revision: str = "0016"
down_revision: str | None = "0015"
branch_labels: str | None = None
depends_on: str | None = None

_SEQUENCE = "events_id_seq"


def upgrade() -> None:
    # The release before takes one id of each block. The statement locks the sequence, and not the table.
    op.execute(f"ALTER SEQUENCE {_SEQUENCE} INCREMENT BY 8192")


def downgrade() -> None:
    # The ids of the last block may be in use.
    op.execute(f"SELECT nextval('{_SEQUENCE}')")
    op.execute(f"ALTER SEQUENCE {_SEQUENCE} INCREMENT BY 1")
