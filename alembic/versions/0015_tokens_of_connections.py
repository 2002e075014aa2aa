"""The token of a commit is stored for the connection, whose name the process draws, not for the server's process.

Revision: 0015, after 0014
"""

import sqlalchemy as sa
from alembic import op

revision: str = "0015"
down_revision: str | None = "0014"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    # The table `commits` stays, because processes of the release before write it.
    op.create_table(
        "commit_tokens",
        sa.Column("connection", sa.Uuid(), nullable=False, comment="drawn anew for each connection"),
        sa.Column("token", sa.Uuid(), nullable=False, comment="drawn anew for each transaction"),
        sa.Column("noted_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.PrimaryKeyConstraint("connection", name=op.f("pk_commit_tokens")),
        postgresql_with={"fillfactor": "10"},
    )


def downgrade() -> None:
    op.drop_table("commit_tokens")
