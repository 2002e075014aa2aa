"""Each transaction stores a token that identifies its commit, even after a crash of the database.

Revision: 0003, after 0002
"""

import sqlalchemy as sa
from alembic import op

revision: str = "0003"
down_revision: str | None = "0002"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    op.create_table(
        "commits",
        sa.Column("backend", sa.Integer(), autoincrement=False, nullable=False, comment="process id of the session"),
        sa.Column("token", sa.Uuid(), nullable=False, comment="drawn anew for each transaction"),
        sa.PrimaryKeyConstraint("backend", name=op.f("pk_commits")),
        postgresql_with={"fillfactor": "10"},
    )


def downgrade() -> None:
    op.drop_table("commits")
