"""The script that sets up a Citus cluster, run with stand-ins for the functions of Citus, which is not here."""

import subprocess
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy.engine import make_url

from app.adapters.postgresql.connections import create_engine
from app.embedded.postgresql import EmbeddedPostgresql
from tests.support.database import raw_connection

SCRIPT = Path(__file__).resolve().parents[2] / "deploy/kubernetes/overlays/citus/setup.sql"
TIME_ZONE = "America/St_Johns"
STAND_INS = """
    CREATE TABLE calls (id serial, call text);
    CREATE FUNCTION citus_set_coordinator_host(text, int) RETURNS void LANGUAGE sql
        AS $$ INSERT INTO calls (call) SELECT 'coordinator ' || $1 $$;
    CREATE FUNCTION citus_add_node(text, int) RETURNS void LANGUAGE sql
        AS $$ INSERT INTO calls (call) SELECT 'node ' || $1 $$;
    CREATE FUNCTION citus_set_node_property(text, int, text, boolean) RETURNS void LANGUAGE sql
        AS $$ INSERT INTO calls (call) SELECT concat_ws(' ', $1, $3, $4) $$;
"""


class Cluster:
    """A database with the stand-ins, and a role for the service."""

    def __init__(self, server: EmbeddedPostgresql, url: str, connection: asyncpg.Connection) -> None:
        self.psql = server.bin_dir / "psql"
        self.url, self.connection = url, connection
        self.role = f"service_{uuid.uuid4().hex}"

    def set_up(self, workers: str) -> None:
        """Run the script. Raises AssertionError with its output."""
        url = make_url(self.url).set(drivername="postgresql").render_as_string(hide_password=False)
        variables = {"role": self.role, "coordinator": "node-0", "workers": workers, "time_zone": TIME_ZONE}
        given = [f"--set={name}={value}" for name, value in variables.items()]
        done = subprocess.run(
            [self.psql, url, "--no-psqlrc", *given, f"--file={SCRIPT}"],
            capture_output=True,
            check=False,
            text=True,
            timeout=60,
        )
        assert (done.returncode, done.stderr) == (0, "")

    async def calls(self) -> list[str]:
        return [call for (call,) in await self.connection.fetch("SELECT call FROM calls ORDER BY id")]

    async def settings(self) -> dict[str, str]:
        rows = await self.connection.fetchval("SELECT rolconfig FROM pg_roles WHERE rolname = $1", self.role)
        return dict(row.split("=", 1) for row in rows)


@pytest.fixture
async def cluster(postgresql: EmbeddedPostgresql, empty_database_url: str) -> AsyncIterator[Cluster]:
    url = make_url(postgresql.admin_url).set(database=make_url(empty_database_url).database)
    text = url.render_as_string(hide_password=False)
    async with raw_connection(text) as connection:
        cluster = Cluster(postgresql, text, connection)
        await connection.execute(STAND_INS)
        await connection.execute(f'CREATE ROLE "{cluster.role}"')
        yield cluster
        await connection.execute(f'DROP ROLE "{cluster.role}"')


async def test_nodes_are_added_to_the_coordinator(cluster: Cluster) -> None:
    cluster.set_up("node-1,node-2")
    assert await cluster.calls() == ["coordinator node-0", "node node-1", "node node-2"]


async def test_the_only_node_of_a_cluster_gets_the_cells(cluster: Cluster) -> None:
    cluster.set_up("")
    assert await cluster.calls() == ["coordinator node-0", "node-0 shouldhaveshards t"]


async def test_the_script_can_be_repeated(cluster: Cluster) -> None:
    cluster.set_up("node-1")
    once = await cluster.settings()
    cluster.set_up("node-1,node-2")
    assert await cluster.settings() == once


async def test_the_role_has_what_a_process_sets_for_its_sessions(cluster: Cluster, database_url: str) -> None:
    """These are valid on nodes that a process is not connected to. What may be longer there is left out."""
    cluster.set_up("")
    found = await cluster.settings()
    assert found.pop("citus.enable_schema_based_sharding") == "on"
    assert found.pop("citus.override_table_visibility") == "off"

    engine = create_engine(database_url, pool_size=1, time_zone=TIME_ZONE, generic_plans=False)
    async with engine.connect() as connection:
        rows = await connection.exec_driver_sql(
            "SELECT name, current_setting(name) AS value FROM pg_settings WHERE source = 'client'"
        )
        session = {row.name: row.value for row in rows}
    await engine.dispose()

    left_out = {"application_name", "client_encoding", "statement_timeout", "transaction_timeout"}
    assert found == {name: value for name, value in session.items() if name not in left_out}
