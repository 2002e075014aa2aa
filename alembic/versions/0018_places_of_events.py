"""The order of events that have no sequence: those of orders as a whole.

Revision: 0018, after 0017
"""

import sqlalchemy as sa
from alembic import op

revision: str = "0018"
down_revision: str | None = "0017"
branch_labels: str | None = None
depends_on: str | None = None

_INDEX = "ix_events_without_sequence"


def upgrade() -> None:
    # Each statement is a transaction of its own, and the index is built beside the traffic. An interrupted revision
    # runs again from its beginning.
    place = sa.Column(
        "place",
        sa.BigInteger(),
        comment="numbers the events of the subject that have no sequence; null: it has one",
    )
    with op.get_context().autocommit_block():
        op.add_column("events", place, if_not_exists=True)
        op.drop_index(_INDEX, table_name="events", postgresql_concurrently=True, if_exists=True)
        op.create_index(
            _INDEX,
            "events",
            ["subject", "place"],
            postgresql_where=sa.text("place IS NOT NULL"),
            postgresql_concurrently=True,
        )


def downgrade() -> None:
    op.drop_index(_INDEX, table_name="events")
    op.drop_column("events", "place")
