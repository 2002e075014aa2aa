"""The tables of what processes have of their own: leases of relays, and the last commits of connections."""

from sqlalchemy import Column, DateTime, Integer, SmallInteger, Table, Uuid, func, text

from app.adapters.postgresql.metadata import Identifier, metadata

relay_shards = Table(
    "relay_shards",
    metadata,
    Column("shard", SmallInteger, primary_key=True),
    Column("owner", Identifier),
    Column("leased_until", DateTime(timezone=True), nullable=False, server_default=text("'-infinity'")),
)

relay_members = Table(
    "relay_members",
    metadata,
    Column("owner", Identifier, primary_key=True),
    Column("alive_until", DateTime(timezone=True), nullable=False),
)

# The last commit of each connection of a process. A crash can lose a transaction id, which is then assigned again, so
# the outcome of a commit is looked up by its token. Each row is updated in place (heap-only tuples), because only its
# key has an index. Housekeeping deletes the rows of connections that are not used any more.
commit_tokens = Table(
    "commit_tokens",
    metadata,
    Column("connection", Uuid, primary_key=True, comment="drawn anew for each connection"),
    Column("token", Uuid, nullable=False, comment="drawn anew for each transaction"),
    Column("noted_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    postgresql_with={"fillfactor": "10"},
)

# The same for each process of the server, written by the release before. The next release drops it.
commits = Table(
    "commits",
    metadata,
    Column("backend", Integer, primary_key=True, autoincrement=False, comment="process id of the session"),
    Column("token", Uuid, nullable=False, comment="drawn anew for each transaction"),
    postgresql_with={"fillfactor": "10"},
)
