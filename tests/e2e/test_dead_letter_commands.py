"""`allocation dead-letters`: lines for pipes, a table for terminals, JSON for programs; no control characters."""

import asyncio
import base64
import json
import re
from typing import Any

import asyncpg
import pytest
from sqlalchemy import event
from sqlalchemy.engine import make_url

from app.adapters.postgresql import dead_letters
from app.bootstrap import Service
from app.operations import dead_letters as entrypoint
from tests.e2e.conftest import RunHere
from tests.support.cells import one_cell_only
from tests.support.command import assert_one_clear_line
from tests.support.terminal import at_terminal

HOSTILE = "\x1b[2J\x1b]0;owned\x07"
"""What empties a terminal and renames its window."""


def letters_of(database_url: str, *letters: dict[str, Any]) -> list[int]:
    """Insert dead letters. Returns their ids."""
    url = make_url(database_url).set(drivername="postgresql").render_as_string(hide_password=False)

    async def insert() -> list[int]:
        connection = await asyncpg.connect(url)
        try:
            return [
                await connection.fetchval(
                    """
                    INSERT INTO dead_letters
                        (consumer, topic, partition, "offset", "timestamp", key, value, headers, reason, message_id)
                    VALUES ('allocation', 'inbound', 3, $1, $2, $3, $4, $5, $6, $7) RETURNING id
                    """,
                    offset,
                    letter.get("timestamp", 1_893_456_000_000),
                    letter.get("key", b"CHAIR"),
                    letter.get("value", b'{"qty": 0}'),
                    json.dumps([[name, base64.b64encode(value).decode()] for name, value in letter.get("headers", [])]),
                    letter.get("reason", "qty: too small"),
                    letter.get("message_id"),
                )
                for offset, letter in enumerate(letters)
            ]
        finally:
            await connection.close()

    return asyncio.run(insert())


def test_show_prints_every_field_of_a_letter(run_here: RunHere, database_url: str) -> None:
    headers = [("ce_type", b"batch_created.v1"), ("odd", b"\xff\x00")]
    first, second = letters_of(
        database_url,
        {"headers": headers, "message_id": "id-1", "value": b'{\n  "qty": 0\n}'},
        {"key": None, "value": bytes(range(250, 256)) * 3, "timestamp": 2**62},
    )
    done = run_here("dead-letters", "show", str(first), database_url=database_url)
    assert (done.returncode, done.stderr) == (0, "")
    shown = [line.split(maxsplit=1) for line in done.stdout.splitlines()]
    for field in (["number", str(first)], ["id", "id-1"], ["record", "inbound[3]@0"], ["reason", "qty: too small"]):
        assert field in shown
    for line in ("  ce_type: batch_created.v1", "  odd: ff 00", '    "qty": 0', "value     14 bytes"):
        assert line in done.stdout.splitlines()
    assert "written   2030-01-01T00:00:00+00:00" in done.stdout.splitlines()
    done = run_here("dead-letters", "show", str(second), database_url=database_url)
    assert (done.returncode, done.stderr) == (0, "")
    for line in ("key       none", "  fa fb fc fd fe ff fa fb fc fd fe ff fa fb fc fd", "  fe ff"):
        assert line in done.stdout.splitlines()


def test_json_has_the_same_fields(run_here: RunHere, database_url: str) -> None:
    headers = [("ce_type", b"batch_created.v1"), ("odd", b"\xff\x00")]
    empty = {"value": None, "key": b"\xff"}
    first, second = letters_of(database_url, {"headers": headers, "message_id": "id-1"}, empty)
    lines = run_here("dead-letters", "list", "--json", database_url=database_url).stdout.splitlines()
    listed = [json.loads(line) for line in lines]
    assert [letter["number"] for letter in listed] == [first, second]
    shown = json.loads(run_here("dead-letters", "show", "--json", str(first), database_url=database_url).stdout)
    assert shown == listed[0]
    assert shown["value"] == {"text": '{"qty": 0}'}
    assert shown["headers"][1] == {"name": "odd", "value": {"base64": "/wA="}}
    assert (listed[1]["value"], listed[1]["key"]) == (None, {"base64": "/w=="})


def test_discard_deletes_only_the_named_letters(run_here: RunHere, database_url: str) -> None:
    first, second, third = letters_of(database_url, {}, {}, {})
    done = run_here("dead-letters", "discard", str(first), str(third), "999999", database_url=database_url)
    assert_one_clear_line(done, 2, "999999")
    assert done.stdout.splitlines() == [f"{first} discarded", f"{third} discarded"]
    listed = run_here("dead-letters", "list", database_url=database_url).stdout.splitlines()
    assert [line.split()[0] for line in listed] == [str(second)]
    assert_one_clear_line(run_here("dead-letters", "discard", database_url=database_url), 2, "ID")
    assert len(run_here("dead-letters", "list", database_url=database_url).stdout.splitlines()) == 1


@pytest.mark.parametrize("command", ["show", "discard"])
def test_an_unknown_letter_is_reported_on_one_line(command: str, run_here: RunHere, database_url: str) -> None:
    done = run_here("dead-letters", command, "999999", database_url=database_url)
    assert_one_clear_line(done, 2, "999999")
    assert done.stdout == ""


def test_a_terminal_gets_a_table_and_a_pipe_one_line_per_letter(
    run_here: RunHere, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = letters_of(database_url, {"reason": "qty: too\nsmall"}, {"message_id": "id-2"})
    with at_terminal(monkeypatch) as screen:
        assert run_here("dead-letters", "list", database_url=database_url).returncode == 0
    for shown in ("reason", "\x1b[1m", "qty: too small", "id-2"):
        assert shown in screen.text
    lines = run_here("dead-letters", "list", database_url=database_url).stdout.splitlines()
    assert [line.split()[0] for line in lines] == list(map(str, numbers))
    assert "id=id-2 attempts=1" in lines[1]


def test_a_list_comes_in_pages(run_here: RunHere, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dead_letters, "SUMMARIES_PAGE", 2)
    monkeypatch.setattr(dead_letters, "LETTERS_PAGE", 2)
    numbers = list(map(str, letters_of(database_url, {}, {}, {})))
    lines = run_here("dead-letters", "list", database_url=database_url).stdout.splitlines()
    assert [line.split()[0] for line in lines] == numbers
    listed = run_here("dead-letters", "list", "--json", database_url=database_url).stdout.splitlines()
    assert [str(json.loads(line)["number"]) for line in listed] == numbers
    with at_terminal(monkeypatch) as screen:
        run_here("dead-letters", "list", database_url=database_url)
    assert screen.text.count("attempts") == 2


async def test_a_list_does_not_read_message_values(service: Service) -> None:
    asked: list[str] = []
    event.listen(
        service.engine.sync_engine, "before_cursor_execute", lambda *arguments: asked.append(str(arguments[2]))
    )
    assert [page async for page in entrypoint.summaries(service)] == []
    assert [each for each in asked if "dead_letters" in each] != []
    assert [each for each in asked if re.search(r"\b(key|value|headers)\b", each)] == []


def test_control_characters_in_a_letter_are_escaped(
    run_here: RunHere, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hostile = HOSTILE.encode()
    (number,) = letters_of(
        database_url,
        {
            "reason": f"odd {HOSTILE}",
            "value": hostile,
            "key": hostile,
            "headers": [(f"odd{HOSTILE}", hostile)],
            "message_id": f"id{HOSTILE}",
        },
    )
    for command in (["list"], ["show", str(number)]):
        with at_terminal(monkeypatch) as screen:
            run_here("dead-letters", *command, database_url=database_url)
        piped = run_here("dead-letters", *command, database_url=database_url).stdout
        for output in (screen.text, piped):
            assert "\\x1b[2J" in output
            assert "\x1b[2J" not in output
            assert "\x07" not in output


def execute(database_url: str, statement: str) -> None:
    url = make_url(database_url).set(drivername="postgresql").render_as_string(hide_password=False)

    async def run() -> None:
        connection = await asyncpg.connect(url)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    asyncio.run(run())


def batch_letter(ref: str, *, source: str = "/purchasing", message_id: str = "id-1") -> dict[str, Any]:
    """A letter whose record can be read."""
    headers = [("ce_id", message_id), ("ce_source", source), ("ce_type", "batch_created.v1")]
    value = json.dumps({"ref": ref, "sku": "CHAIR", "qty": 5}).encode()
    return {
        "headers": [(name, text.encode()) for name, text in headers],
        "value": value,
        "message_id": message_id,
    }


def test_retry_discards_a_letter_only_where_its_own_effect_is_there(run_here: RunHere, database_url: str) -> None:
    _, other, _ = letters_of(
        database_url, batch_letter("batch-1"), batch_letter("batch-2"), batch_letter("batch-3", source="/returns")
    )
    first_try, done = [run_here("dead-letters", "retry", database_url=database_url) for _ in range(2)]
    assert first_try.returncode == done.returncode == 1

    (line,) = done.stdout.splitlines()
    belongs_to_another = "failed again: the id 'id-1' of the source '/purchasing' belongs to another message"
    assert line.startswith(f"{other} {belongs_to_another}, which was received at 20")
    (kept,) = run_here("dead-letters", "list", database_url=database_url).stdout.splitlines()
    assert kept.startswith(f"{other} ")
    assert "attempts=3" in kept
    assert "belongs to another message" in kept


def test_retry_reports_the_outcome_of_each_letter(run_here: RunHere, database_url: str) -> None:
    letters = [batch_letter("batch-1"), batch_letter("batch-1"), batch_letter("batch-3", source="/returns")]
    first, same, another_source = letters_of(database_url, *letters)
    done = run_here("dead-letters", "retry", database_url=database_url)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        f"{first} restored: ok",
        f"{same} restored: duplicate",
        f"{another_source} restored: ok",
    ]


@one_cell_only("the release before knows no cells")
def test_retry_keeps_a_letter_whose_id_an_earlier_release_has_received(run_here: RunHere, database_url: str) -> None:
    """Earlier releases stored neither source nor content, so it may be another message."""
    (letter,) = letters_of(database_url, batch_letter("batch-1"))
    execute(database_url, "INSERT INTO inbox (message_id) VALUES ('id-1')")
    done = run_here("dead-letters", "retry", str(letter), database_url=database_url)
    assert done.returncode == 1
    assert done.stdout.startswith(f"{letter} failed again: an earlier release received a message with this id")
    assert len(run_here("dead-letters", "list", database_url=database_url).stdout.splitlines()) == 1
