"""An index of the changes of batches among the events.

Revision: 0013, after 0012
"""

import sqlalchemy as sa
from alembic import op

revision: str = "0013"
down_revision: str | None = "0012"
branch_labels: str | None = None
depends_on: str | None = None

_INDEX = "ix_events_changes_of_batches"
_CHANGES = "type IN ('batch_quantity_changed.v1', 'batch_eta_changed.v1', 'batch_changed.v1')"


def upgrade() -> None:
    # Beside the traffic, so outside of a transaction. An index that was left unfinished is built anew.
    with op.get_context().autocommit_block():
        op.drop_index(_INDEX, table_name="events", postgresql_concurrently=True, if_exists=True)
        op.create_index(_INDEX, "events", ["id"], postgresql_where=sa.text(_CHANGES), postgresql_concurrently=True)


def downgrade() -> None:
    op.drop_index(_INDEX, table_name="events")
