"""An upgrade from the release before, back to it, and forward again, with the processes of both under load."""

import json
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from app.adapters.postgresql import schema
from app.embedded.process import LOOPBACK
from faults import release
from faults.repertoire import OF_1_0_0RC1
from faults.rounds import Fault, LeftOutError, Round
from faults.scenarios.upgrades import ATTENTIVE, ROLES, SETTINGS, SLOW, Balancer, check_attempts, grow, stop
from faults.servers import Servers
from faults.stack import PLAIN_ENTRY
from faults.trial import RECOVERY_LIMIT
from tests.support.downloads import DownloadError

API = Path(__file__).parents[2] / "docs" / "openapi.json"
ATTEMPTS = 5
"""A migration gives up after 5 s without a lock, and the operator repeats it."""


@contextmanager
def installed(_: Servers, __: Path) -> Iterator[None]:
    """Install the release before. Raises LeftOutError."""
    try:
        release.previous()
    except DownloadError as error:
        # The first line says which program failed, the last one why.
        lines = str(error).strip().splitlines()
        raise LeftOutError(" ... ".join(dict.fromkeys([lines[0], lines[-1]]))) from error
    yield


def upgrade(this: Round) -> None:
    """The schema goes to this release, then each process; all go back and forward again. One retry is enough."""
    before = release.previous()
    since = time.time()
    _check_code(this, before.api)
    _check_schema(this, before.revision)
    with Balancer(this.stack) as balancer:
        _migrate(this)
        this.recovered(time.time(), RECOVERY_LIMIT)
        _replace_all(this, PLAIN_ENTRY, API.read_text(encoding="utf-8"))
        # Now some callers reach a process that has stopped, and retry at another one.
        balancer.interval = SLOW
        old = this.stack.command("migrate", entry=before.entry)
        this.check(old.returncode == 0, f"the old `migrate` failed: {old.stderr}")
        _replace_all(this, before.entry, before.api)
        balancer.interval = ATTENTIVE
        _replace_all(this, PLAIN_ENTRY, API.read_text(encoding="utf-8"))
    _check_schema(this, schema.head())
    check_attempts(this, since)
    compared = this.stack.command("reconcile")
    this.check(compared.returncode == 0, f"reconcile found something: {compared.stdout}{compared.stderr}")


def _migrate(this: Round) -> None:
    """`allocation migrate` of this release, while the old processes run under load."""
    started = time.time()
    for attempt in range(1, ATTEMPTS + 1):
        done = this.stack.command("migrate")
        if done.returncode == 0:
            this.say(f"the schema is that of this release after {time.time() - started:.1f} s, {attempt} attempts")
            break
        this.say(f"attempt {attempt} of the migration: {done.stderr.strip()[-300:]}")
    else:
        this.check(False, f"the migration did not succeed in {ATTEMPTS} attempts")  # noqa: FBT003 - see `check`
    _check_schema(this, schema.head())


def _replace_all(this: Round, entry: Sequence[str], api: str) -> None:
    """Replace the processes of one role after the other by processes of that release, one process at a time."""
    this.stack.entry = lambda _: entry
    for role in ROLES:
        for leaving in this.stack.of(role):
            grow(this, [role])
            stop(this, [leaving])
        this.recovered(time.time(), RECOVERY_LIMIT)
    _check_code(this, api)


def _check_code(this: Round, api: str) -> None:
    """All servers serve this OpenAPI document, so they are of its release."""
    for port in this.stack.http_ports():
        with urllib.request.urlopen(f"http://{LOOPBACK}:{port}/openapi.json", timeout=10) as answer:
            this.check(json.load(answer) == json.loads(api), f"the server at {port} is of another release")


def _check_schema(this: Round, revision: str) -> None:
    found = this.database.ask("SELECT version_num FROM alembic_version")
    this.check(found == [(revision,)], f"the schema is {found} instead of {revision}")


FAULTS: dict[str, Fault] = {
    "upgrade": Fault(
        upgrade,
        settings=SETTINGS,
        entry=lambda _, __: release.previous().entry,
        migrate=lambda url, _: release.previous().migrate(url),
        one_cell_only="the release before has no cells",
        repertoire=OF_1_0_0RC1,
        in_short=False,
        around=installed,
    ),
}
