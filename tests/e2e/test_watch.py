"""`allocation watch` shows events as they are published, without an effect on the service."""

import asyncio
import json
import os
import signal
import subprocess
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient
from pydantic import SecretStr
from rich.console import Console

from app.adapters.kafka import clients
from app.adapters.kafka.clients import KafkaConfig
from app.bootstrap import bootstrap
from app.cli.watch import _page, _show_line
from app.embedded.process import free_port
from app.operations.watch import SeenEvent, Status, Watch
from app.settings import Settings
from tests.e2e.conftest import World
from tests.support.api import new
from tests.support.command import ALLOCATION, environment, running
from tests.support.terminal import Screen
from tests.support.waiting import eventually

pytestmark = pytest.mark.kafka

HOSTILE = "\x1b[2J"


def groups_of(settings: Settings) -> set[str]:
    listed = AdminClient({"bootstrap.servers": settings.kafka_bootstrap_servers}).list_consumer_groups().result()
    return {group.group_id for group in listed.valid}


async def test_json_has_each_event_and_the_status_without_an_effect_on_the_service(world: World, log: Path) -> None:
    sku, groups = new("sku"), groups_of(world.settings)
    with running("watch", "--json", "--interval", "0.5", env=environment(world.settings), log=log) as command:

        def received(kind: str) -> list[dict[str, Any]]:
            # The last line can be incomplete.
            lines = [json.loads(line) for line in command.output.splitlines(keepends=True) if line.endswith("\n")]
            return [line for line in lines if line["kind"] == kind]

        command.wait_for(lambda: any(status["reading"] for status in received("status")))
        await world.api.record(sku, 10)
        await world.api.order(sku, 4)
        held_until = (await world.api.allocate(sku, 3, hold_for=600)).json()["held_until"]
        await world.wire.events(sku, 3)
        command.wait_for(lambda: len([event for event in received("event") if event["sku"] == sku]) == 3)
        batch, line, hold = (event for event in received("event") if event["sku"] == sku)
        assert (batch["type"], batch["sequence"], batch["data"]["qty"]) == ("batch_created.v1", "1", 10)
        assert (line["type"], line["sequence"], line["data"]["qty"]) == ("line_allocated.v1", "2", 4)
        assert (hold["type"], hold["data"]["held_until"]) == ("line_held.v1", held_until)

        def at_rest() -> bool:
            last = received("status")[-1]
            lags = {world.settings.kafka_consumer_group: 0, world.settings.kafka_notifier_group: 0}
            return bool(last["lags"] == lags and (last["backlog"] or {}).get("pending") == 0 and last["faults"] == {})

        command.wait_for(at_rest)
        assert received("status")[-1]["seen"]["line_allocated.v1"] >= 1
        assert received("status")[-1]["backlog"]["held_lines"] >= 1
        assert groups_of(world.settings) == groups
        assert command.stop(signal.SIGINT) == 0


async def test_a_terminal_gets_a_page_that_is_updated(world: World, tmp_path: Path) -> None:
    sku, screen = new("sku"), Screen()
    env = {**environment(world.settings), "TERM": "xterm-256color", "COLUMNS": "160", "LINES": "50"}
    process = subprocess.Popen(  # noqa: ASYNC220 - the program under test, not a task of ours
        [ALLOCATION, "watch", "--interval", "0.5"],
        env=env,
        cwd=tmp_path,
        stdin=screen.inside,
        stdout=screen.inside,
        stderr=screen.inside,
        start_new_session=True,
    )
    try:

        async def shown(*words: str) -> None:
            async def there() -> bool:
                assert process.poll() is None, screen.text
                missing = [word for word in words if word not in screen.text]
                assert not missing, (missing, screen.text[-3000:])
                return True

            await eventually(there)

        # The end offset of the embedded broker may be one record too low, so that record is shown once more.
        await shown("per second", f"lag of {world.settings.kafka_notifier_group} 0")
        await world.api.record(sku, 10)
        await shown(sku, "batch_created.v1", "qty=10")
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(60) == 0
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        screen.end()


@asynccontextmanager
async def statuses(settings: Settings) -> AsyncIterator[AsyncIterator[Status]]:
    async with bootstrap(settings) as service:

        async def only(items: AsyncIterator[SeenEvent | Status]) -> AsyncGenerator[Status, None]:
            async for item in items:
                if isinstance(item, Status):
                    yield item

        async with aclosing(Watch(service, interval=0.05).items()) as items, aclosing(only(items)) as found:
            yield found


async def test_unreachable_servers_are_named_and_waited_for() -> None:
    away = f"127.0.0.1:{free_port()}"
    settings = Settings(
        _env_file=None,
        database_url=SecretStr(f"postgresql+asyncpg://allocation:secret@{away}/nowhere"),
        kafka_bootstrap_servers=away,
    )
    async with asyncio.timeout(60), statuses(settings) as found:
        async for status in found:
            if status.faults.keys() == {"events", "database"}:
                break
        assert (status.reading, status.backlog, status.lags) == (False, None, {})
        assert "secret" not in str(status)


async def test_a_missing_topic_is_waited_for_and_not_created(kafka_settings: Settings) -> None:
    topic, config = kafka_settings.kafka_events_topic, KafkaConfig(kafka_settings.kafka_bootstrap_servers)
    async with asyncio.timeout(60), statuses(kafka_settings) as found:
        async for status in found:
            if "does not exist" in status.faults.get("events", ""):
                break
        assert (await clients.describe_topics(config, [topic]))[1] == {}
        await clients.create_topics(config, [topic])
        async for status in found:
            if status.reading:
                break
        assert "events" not in status.faults


def test_control_characters_in_an_event_are_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    event = SeenEvent(HOSTILE, HOSTILE, HOSTILE, HOSTILE, HOSTILE, {f"name{HOSTILE}": HOSTILE})
    status = Status(True, {HOSTILE: 1}, {HOSTILE: 0.1}, None, {HOSTILE: 1}, {HOSTILE: HOSTILE})
    for item in (event, status):
        _show_line(item)
    Console(width=200).print(_page(status, [event]))
    shown = capsys.readouterr().out
    assert "\\x1b[2J" in shown
    assert HOSTILE not in shown
