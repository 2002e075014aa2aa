"""With several cells: which refs exist, whatever cell their batch is in.

Revision: 0017, after 0016
"""

import sqlalchemy as sa
from alembic import op

revision: str = "0017"
down_revision: str | None = "0016"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    op.create_table(
        "batch_refs",
        sa.Column("ref", sa.Text(collation="C"), nullable=False),
        sa.Column("sku", sa.Text(collation="C"), nullable=False, comment="the product of the batch"),
        sa.PrimaryKeyConstraint("ref", name=op.f("pk_batch_refs")),
    )


def downgrade() -> None:
    op.drop_table("batch_refs")
