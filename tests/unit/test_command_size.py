"""A large command pauses between its parts; others do not."""

import asyncio
from typing import cast

import pytest

from app.adapters.postgresql.command_size import LARGE, LONGEST_PAUSE, CommandSize
from app.adapters.postgresql.pipelined_connection import PipelinedConnection
from app.service_layer.ports import TooLargeToShareError


class Connection:
    """Accepts each statement."""

    async def execute(self, *_: object) -> None:
        return


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses so far, none of which takes any time."""
    found: list[float] = []

    async def sleep(seconds: float) -> None:
        found.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    return found


async def test_only_a_large_command_pauses_after_each_part_and_never_for_long(pauses: list[float]) -> None:
    size = CommandSize(cast("PipelinedConnection", Connection()))
    await size.count("CHAIR", LARGE)
    await size.give_way()
    assert pauses == []
    await size.count("CHAIR", 1)
    await size.give_way()
    assert len(pauses) == 2
    assert all(0 < pause <= LONGEST_PAUSE for pause in pauses)


async def test_a_large_command_does_not_pause_where_others_would_wait_for_it(pauses: list[float]) -> None:
    size = CommandSize(cast("PipelinedConnection", Connection()))
    size.is_shared = True
    with pytest.raises(TooLargeToShareError):
        await size.count("CHAIR", LARGE + 1)
    assert pauses == []
