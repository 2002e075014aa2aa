"""${message}

Deploy-safe by these rules: a statement waits at most `lock_timeout` (set in env.py) for its lock and then fails, to be
run again, rather than stand in front of all traffic; a column that is added is nullable or has a constant default; an
index on a table with rows is built CONCURRENTLY inside `op.get_context().autocommit_block()`; what old code still reads is
removed by a later release (expand, then contract).

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
