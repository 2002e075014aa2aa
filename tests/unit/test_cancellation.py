"""Tasks end although they lost their cancellation to another exception."""

import asyncio

import pytest

from app.cancellation import cancel, raise_if_cancelled
from app.entrypoints import components

LATE = 60.0


async def _loses_its_cancellation() -> None:
    """What a connection does that is closed while a query on it is cancelled."""
    try:
        await asyncio.Event().wait()
    finally:
        raise ConnectionError("the connection is closed")


async def test_a_component_that_loses_its_cancellation_is_not_started_again() -> None:
    starts = 0
    started = asyncio.Event()

    async def component() -> None:
        nonlocal starts
        starts += 1
        started.set()
        await _loses_its_cancellation()

    async with asyncio.timeout(LATE), components.running([component]):
        await started.wait()
    assert starts == 1


async def test_a_task_that_goes_on_is_cancelled_again() -> None:
    lost = asyncio.Event()

    async def ignores_the_first() -> None:
        try:
            await _loses_its_cancellation()
        except ConnectionError:
            lost.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(ignores_the_first())
    await asyncio.sleep(0)
    async with asyncio.timeout(LATE):
        await cancel([task], interval=0.01)
    assert lost.is_set()
    assert task.cancelled()


async def test_cancelling_what_has_ended_or_fails_raises_nothing() -> None:
    failing = asyncio.create_task(_loses_its_cancellation())
    ended = asyncio.create_task(asyncio.sleep(0, "done"))
    await ended
    await cancel([failing, ended])
    assert isinstance(failing.exception(), ConnectionError)
    assert ended.result() == "done"


async def test_a_task_that_is_not_cancelled_goes_on() -> None:
    raise_if_cancelled()
    try:
        async with asyncio.timeout(0):
            await asyncio.Event().wait()
    except TimeoutError:
        raise_if_cancelled()


async def test_a_loop_that_catches_everything_sees_that_it_was_cancelled() -> None:
    async def loop() -> None:
        while True:
            try:
                await _loses_its_cancellation()
            except ConnectionError:
                raise_if_cancelled()

    task = asyncio.create_task(loop())
    await asyncio.sleep(0)
    task.cancel()
    async with asyncio.timeout(LATE):
        with pytest.raises(asyncio.CancelledError):
            await task
