"""The schema changes under load, to revisions that the running code does not know."""

import asyncio
import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from alembic import command
from alembic.config import Config
from sqlalchemy.exc import DBAPIError

from app.adapters.postgresql import schema
from app.embedded.process import poll_until
from faults.actors import SKUS
from faults.client import Connection, NoAnswerError
from faults.database import choose
from faults.rounds import LONGEST_HTTP_WAIT, Fault, Round
from faults.scenarios.upgrades import check_attempts
from faults.stack import START_SECONDS, STOP_SECONDS
from faults.trial import RECOVERY_LIMIT

MIGRATIONS = Path(__file__).parents[2] / "alembic"
ATTEMPTS = 5
LOCK_TIMEOUT, LOCK_MARGIN = 5.0, 2.0
"""The lock timeout of a migration (docs/operations.md), plus the start and end of its process."""

HELD_ON = 2.0
PROMPT = 1.5
READ_INTERVAL = 0.05
NEXT, LAST = "faults_columns", "faults_index"

# Changes of possible later releases. Each table is changed in a transaction of its own, because commands lock the
# tables in several orders. The index has its own revision, because a concurrent build may fail half-way.
COLUMNS = f"""
from alembic import op
revision, down_revision = "{NEXT}", "{schema.head()}"
def upgrade():
    with op.get_context().autocommit_block():
        op.execute("ALTER TABLE products ADD COLUMN IF NOT EXISTS weight integer NOT NULL DEFAULT 1")
        op.execute("ALTER TABLE batches DROP CONSTRAINT IF EXISTS recent")
        op.execute("ALTER TABLE batches ADD CONSTRAINT recent CHECK (eta > '2000-01-01') NOT VALID")
        op.execute("ALTER TABLE order_lines ADD COLUMN IF NOT EXISTS note text NOT NULL DEFAULT ''")
def downgrade():
    with op.get_context().autocommit_block():
        op.execute("ALTER TABLE products DROP COLUMN IF EXISTS weight")
        op.execute("ALTER TABLE batches DROP CONSTRAINT IF EXISTS recent")
        op.execute("ALTER TABLE order_lines DROP COLUMN IF EXISTS note")
"""
INDEX = f"""
from alembic import op
revision, down_revision = "{LAST}", "{NEXT}"
def upgrade():
    with op.get_context().autocommit_block():
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS notes")
        op.execute("CREATE INDEX CONCURRENTLY notes ON order_lines (note)")
def downgrade():
    with op.get_context().autocommit_block():
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS notes")
"""


def migration(this: Round) -> None:
    """Upgrades and downgrades by the project's own Alembic environment, undisturbed and against a long transaction."""
    since = time.time()
    config = _config(this)
    with _Readers(this) as readers:
        for number in range(this.plan.of(8, 1)):
            _migrate(this, config, LAST)
            # In CI starting processes is slow; there, running ones are enough.
            if number == 0 and not this.plan.short:
                _check_new_processes(this)
            this.recovered(time.time(), RECOVERY_LIMIT)
            _migrate(this, config, schema.head())
            this.recovered(time.time(), RECOVERY_LIMIT)
        for _ in range(this.plan.of(3, 1)):
            asyncio.run(_against_a_long_transaction(this, config))
            _migrate(this, config, LAST)
            _migrate(this, config, schema.head())
    this.recovered(time.time(), RECOVERY_LIMIT)
    check_attempts(this, since)
    longest = this.journal.longest_wait()
    this.check_time(longest <= LONGEST_HTTP_WAIT, f"a caller waited {longest:.1f} s for an answer")
    this.say(f"the longest wait was {longest:.1f} s; {readers}")
    this.check(readers.tries.total() > 0, "no reads")
    this.check(max(readers.tries, default=0) <= 1, f"readers needed more than one retry: {readers}")
    this.check(not readers.unready, f"servers were not ready: {readers.unready[:3]}")


def _config(this: Round) -> Config:
    """The project's environment, with two additional revisions in a directory of this round."""
    versions = this.home / "versions"
    versions.mkdir()
    (versions / f"{NEXT}.py").write_text(COLUMNS)
    (versions / f"{LAST}.py").write_text(INDEX)
    config = Config(MIGRATIONS.with_name("alembic.ini"))
    config.set_main_option("path_separator", "newline")
    config.set_main_option("version_locations", f"{MIGRATIONS / 'versions'}\n{versions}")
    config.attributes["database_url"] = this.stack.database_url
    return config


def _migrate(this: Round, config: Config, revision: str) -> None:
    """Migrate to the revision like an operator: repeat after a timeout."""
    started = time.time()
    move = command.downgrade if revision == schema.head() else command.upgrade
    for attempt in range(1, ATTEMPTS + 1):
        try:
            _in_each(this, config, move, revision)
        except DBAPIError as error:
            this.say(f"attempt {attempt} of the migration to {revision}: {error.orig!r}")
        else:
            this.say(f"the schema went to {revision} in {time.time() - started:.1f} s, {attempt} attempts")
            return
    this.check(False, f"the migration to {revision} did not succeed in {ATTEMPTS} attempts")  # noqa: FBT003 - see `check`


def _in_each(this: Round, config: Config, move: Callable[[Config, str], None], revision: str) -> None:
    """Migrate each schema, one after the other, as `allocation migrate` does."""
    for name in this.database.schemas:
        config.attributes["schema"] = name
        move(config, revision)


def _check_new_processes(this: Round) -> None:
    """A process of the old code that starts now, after a crash or for a rollback, becomes ready."""
    instance = this.stack.add("serve", listed=False)
    ready = poll_until(lambda: this.stack.is_ready(instance), seconds=START_SECONDS)
    this.check(ready, "a process that started on the newer schema was not ready")
    this.stack.remove(instance)


async def _against_a_long_transaction(this: Round, config: Config) -> None:
    """The migration gives up after its timeout, and the traffic behind it continues."""
    connection = await this.database.connect()
    try:
        transaction = connection.transaction()
        await transaction.start()
        for name in this.database.schemas:
            await choose(connection, name)
            await connection.fetch("SELECT count(*) FROM order_lines")
        began = time.time()
        try:
            await asyncio.to_thread(_in_each, this, config, command.upgrade, LAST)
        except DBAPIError as error:
            state = getattr(error.orig, "sqlstate", None)
            # A migration with a deadlock is rolled back as well, and must be repeated.
            this.check(state in {"55P03", "40P01"}, f"the migration failed for {error.orig!r}")
        else:
            this.check(False, "the migration did not wait for the long transaction")  # noqa: FBT003 - see `check`
        gave_up = time.time()
        took = gave_up - began
        this.check_time(took <= LOCK_TIMEOUT + LOCK_MARGIN, f"the migration stood before the traffic for {took:.1f} s")
        # The long transaction continues, and delays no other session.
        await asyncio.sleep(HELD_ON)
        await transaction.rollback()
    finally:
        await connection.close()
    waits = [
        each.seconds for entry, each in this.journal.answers(gave_up) if entry.via == "http" and each.sent > gave_up
    ]
    this.check(len(waits) > 0, "no response came during the long transaction")
    this.check_time(
        max(waits, default=0) <= PROMPT, f"after it had given up a caller waited {max(waits, default=0):.1f} s"
    )
    this.say(
        f"the migration gave up after {took:.1f} s; then {len(waits)} callers waited {max(waits, default=0):.1f} s"
    )


class _Readers:
    """Continuously request products and readiness of each server, and retry failures."""

    def __init__(self, this: Round) -> None:
        self._this = this
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._read_all()), name="readers")
        self.tries: Counter[int] = Counter()
        self.unready: list[Any] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join(STOP_SECONDS)

    def __str__(self) -> str:
        return f"retries that readers needed: {dict(sorted(self.tries.items()))}"

    async def _read_all(self) -> None:
        async with asyncio.TaskGroup() as group:
            for port in self._this.stack.http_ports():
                group.create_task(self._read(port))
                group.create_task(self._watch(port))

    async def _read(self, port: int) -> None:
        async with Connection(port) as connection:
            for sku in itertools.cycle(SKUS):
                retries = 0
                while await _status(connection, f"/v1/products/{sku}") != 200 and retries < ATTEMPTS:
                    retries += 1
                    await asyncio.sleep(READ_INTERVAL)
                self.tries[retries] += 1
                if self._stopping.is_set():
                    return
                await asyncio.sleep(READ_INTERVAL)

    async def _watch(self, port: int) -> None:
        async with Connection(port) as connection:
            while not self._stopping.is_set():
                answer = await connection.request("GET", "/readyz")
                if answer[0] != 200:
                    self.unready.append(answer)
                await asyncio.sleep(READ_INTERVAL)


async def _status(connection: Connection, path: str) -> int | None:
    try:
        return (await connection.request("GET", path))[0]
    except NoAnswerError:
        return None


FAULTS: dict[str, Fault] = {
    "migration": Fault(migration),
}
