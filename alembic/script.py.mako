"""${message}

Rules for deployment without downtime: a statement waits at most `lock_timeout` (set in env.py) for its lock, then fails and
can be run again, so it does not block traffic; a new column is nullable or has a constant default; an index on a table with
rows is built CONCURRENTLY inside `op.get_context().autocommit_block()`; a later release removes what old code reads (expand,
then contract).

Revision: ${up_revision}, after ${down_revision | comma,n}
"""

import sqlalchemy as sa
from alembic import op
${imports if imports else ""}
revision: str = ${repr(up_revision)}
down_revision: str | None = ${repr(down_revision)}
branch_labels: str | None = ${repr(branch_labels)}
depends_on: str | None = ${repr(depends_on)}


def upgrade() -> None:
    ${upgrades if upgrades else "pass"}


def downgrade() -> None:
    ${downgrades if downgrades else "pass"}
