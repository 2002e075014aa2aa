"""Where Citus has placed the cells, and the settings that its sessions on other servers lack."""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import text

from app.adapters.postgresql.cells import CONTROL, Cells
from app.adapters.postgresql.connections import connect, session_settings
from app.adapters.postgresql.database_url import Server

_HAS_CITUS = text("SELECT EXISTS (SELECT FROM pg_extension WHERE extname = 'citus')")
# All tables of a schema are on one node.
_NODES = text("""
    SELECT table_name::text AS name, nodename || ':' || nodeport AS node FROM citus_shards
    WHERE table_name::text = ANY(CAST(:tables AS text[]))
""")
# The nodes other than the one that is connected to. `citus_shards` would ask all nodes for the sizes of their tables.
_ENTRIES = text("""
    SELECT s.nspname AS schema, n.nodename AS host, n.nodeport AS port
    FROM pg_namespace AS s
    JOIN pg_class AS c ON c.relnamespace = s.oid AND c.relname = 'products'
    JOIN pg_dist_shard AS d ON d.logicalrelid = c.oid
    JOIN pg_dist_placement AS p USING (shardid)
    JOIN pg_dist_node AS n ON n.groupid = p.groupid AND n.noderole = 'primary'
    WHERE s.nspname = ANY(CAST(:schemas AS text[])) AND n.groupid <> (SELECT groupid FROM pg_dist_local_group)
""")
# A setting of the role comes before one of the database, and one of the role in the database before both.
_SETTINGS_OF_ROLE = text("""
    SELECT lower(split_part(setting, '=', 1)) AS name, substr(setting, strpos(setting, '=') + 1) AS value
    FROM pg_db_role_setting CROSS JOIN unnest(setconfig) AS setting
    WHERE setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
      AND setrole IN (0, (SELECT oid FROM pg_roles WHERE rolname = current_user))
    ORDER BY setrole <> 0, setdatabase <> 0
""")
# Without it, the driver's introspection of types takes seconds.
_VISIBILITY = {"citus.override_table_visibility": "off"}
# On another server they would end migrations and large commands, for which a session extends its own.
_NOT_FOR_THE_ROLE = {"statement_timeout", "transaction_timeout"}


@dataclass(frozen=True, slots=True)
class Placement:
    """The node of each schema (None: Citus has not placed it), and the settings that the role lacks, with their values.

    Citus opens sessions on other nodes for the same role, and does not carry over the settings of ours. Of a setting
    that the role has, only the value of the time zone is compared: it decides at which moment goods expire.
    """

    nodes: Mapping[str, str | None]
    missing_settings: Mapping[str, str]


async def placement_of(cells: Cells, time_zone: str) -> Placement | None:
    """The placement of several cells; None without Citus. Raises DatabaseUnavailableError."""
    schemas = [*filter(None, cells.schemas), CONTROL]
    async with connect(cells.control) as connection:
        if not (await connection.execute(_HAS_CITUS)).scalar_one():
            return None
        tables = {f"{schema}.products": schema for schema in schemas}
        rows = (await connection.execute(_NODES, {"tables": list(tables)})).all()
        nodes = {tables[row.name]: row.node for row in rows}
        given = {row.name: row.value for row in (await connection.execute(_SETTINGS_OF_ROLE)).all()}
    wanted = session_settings(time_zone, generic_plans=False) | _VISIBILITY
    is_given = {name: name in given for name in wanted}
    is_given["timezone"] = given.get("timezone", "").lower() == time_zone.lower()
    return Placement(
        nodes={schema: nodes.get(schema) for schema in schemas},
        missing_settings={
            name: value for name, value in wanted.items() if not (is_given[name] or name in _NOT_FOR_THE_ROLE)
        },
    )


async def entries_of(cells: Cells) -> dict[int, Server]:
    """The node of each cell that is on another one than the database of the URL; empty without Citus.

    Raises DatabaseUnavailableError.
    """
    async with connect(cells.control) as connection:
        if not (await connection.execute(_HAS_CITUS)).scalar_one():
            return {}
        rows = (await connection.execute(_ENTRIES, {"schemas": list(cells.schemas)})).all()
    return {cells.schemas.index(row.schema): Server(row.host, row.port) for row in rows}
