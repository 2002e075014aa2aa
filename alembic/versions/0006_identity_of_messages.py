"""A message is identified by source, id and content, a dead letter by id and content.

Revision: 0006, after 0005
"""

import sqlalchemy as sa
from alembic import op

revision: str = "0006"
down_revision: str | None = "0005"
branch_labels: str | None = None
depends_on: str | None = None

_KEY = "the id; see app/adapters/postgresql/messages.py"


def upgrade() -> None:
    op.add_column(
        "inbox",
        sa.Column(
            "source", sa.Text(), comment="empty: none was given; null: received by a release that did not read it"
        ),
    )
    op.add_column(
        "inbox",
        sa.Column("content", sa.LargeBinary(), comment="digest of type and data; null where the source is"),
    )
    op.alter_column("inbox", "message_id", comment=_KEY)
    op.add_column(
        "dead_letters",
        sa.Column(
            "content", sa.LargeBinary(), comment="digest of value and headers; null: kept by a release that made none"
        ),
    )
    # Not concurrently: no row has a content yet and the table is rarely written, so one short scan builds the index,
    # and the revision stays one transaction.
    op.create_index(
        "uq_dead_letters_message_content",
        "dead_letters",
        ["consumer", "message_id", "content"],
        unique=True,
        postgresql_where=sa.text("message_id IS NOT NULL AND content IS NOT NULL"),
    )
    op.drop_index("uq_dead_letters_message", table_name="dead_letters")


def downgrade() -> None:
    # The old index allows one letter for each id and value. The others remain, identified by their records only.
    op.execute(
        "UPDATE dead_letters SET message_id = NULL WHERE message_id IS NOT NULL AND EXISTS ("
        " SELECT FROM dead_letters earlier WHERE earlier.id < dead_letters.id"
        " AND earlier.consumer = dead_letters.consumer AND earlier.message_id = dead_letters.message_id"
        " AND earlier.value IS NOT DISTINCT FROM dead_letters.value)"
    )
    op.create_index(
        "uq_dead_letters_message",
        "dead_letters",
        ["consumer", "message_id", sa.literal_column("md5(value)")],
        unique=True,
        postgresql_nulls_not_distinct=True,
        postgresql_where=sa.text("message_id IS NOT NULL"),
    )
    op.drop_index("uq_dead_letters_message_content", table_name="dead_letters")
    op.drop_column("dead_letters", "content")
    # Of several sources with one id, the previous release supports only the first.
    op.execute("DELETE FROM inbox WHERE message_id LIKE E'%\\n%'")
    op.alter_column("inbox", "message_id", comment=None)
    op.drop_column("inbox", "content")
    op.drop_column("inbox", "source")
