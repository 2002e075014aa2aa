"""Which files have events that are not in the table any more.

Revision: 0014, after 0013
"""

import sqlalchemy as sa
from alembic import op

revision: str = "0014"
down_revision: str | None = "0013"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    op.create_table(
        "event_archives",
        sa.Column("number", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("file", sa.Text(), nullable=False, comment="its name when it was written"),
        sa.Column(
            "archived_before", sa.DateTime(timezone=True), nullable=False, comment="all events in it are earlier"
        ),
        sa.Column("last_id", sa.BigInteger(), nullable=False, comment="all events up to this id are archived"),
        sa.Column("events", sa.BigInteger(), nullable=False, comment="in this file"),
        sa.Column("digest", sa.LargeBinary(), nullable=False, comment="SHA-256 of the file"),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_event_archives")),
    )
    op.create_index(op.f("ix_event_archives_archived_before"), "event_archives", ["archived_before"])


def downgrade() -> None:
    op.drop_table("event_archives")
