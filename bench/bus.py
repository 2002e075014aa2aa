"""The message bus alone, in a process of its own: `python -m bench.bus SPEC` prints JSON."""

import asyncio
import itertools
import json
import os
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from datetime import date
from typing import Any
from unittest.mock import patch

import uvloop

from app.adapters.postgresql.pipelined_connection import PipelinedConnection
from app.bootstrap import Service, bootstrap
from app.domain.commands import MOST_ITEMS, Allocate, AllocateMany, ChangeBatchQuantity, Command, CreateBatch
from app.service_layer.ports import Cause
from app.service_layer.requests import Request
from app.settings import Settings
from bench.stack import resident_bytes

CAUSE = Cause(causation_id="bench", correlation_id="bench")


HOLD_SECONDS = 900


def allocations(order_prefix: str, sku_prefix: str, skus: int, held_every: int = 0) -> Iterator[Command]:
    """Commands for one piece each, each with a new order id, cycling over the SKUs. Each `held_every`th is a hold."""
    for number in itertools.count():
        hold: dict[str, Any] = {"hold_for": HOLD_SECONDS} if held_every and number % held_every == 0 else {}
        yield Allocate(order_id=f"{order_prefix}-{number}", sku=f"{sku_prefix}{number % skus}", qty=1, **hold)


async def place(service: Service, sku: str, lines: int, *, is_held: bool) -> None:
    """Allocate or hold one piece for each of many orders."""
    terms: dict[str, Any] = {"hold_for": HOLD_SECONDS} if is_held else {}
    for start in range(0, lines, MOST_ITEMS):
        numbers = range(start, min(start + MOST_ITEMS, lines))
        items = (Allocate(order_id=f"{sku}-many-{number}", sku=sku, qty=1, **terms) for number in numbers)
        await service.bus.handle(AllocateMany(items=tuple(items)), CAUSE)


async def create_batches(service: Service, sku_prefix: str, skus: int) -> None:
    """One batch for each SKU that never runs out. It arrives last, so that other batches are preferred."""
    await asyncio.gather(
        *(
            service.bus.handle(
                CreateBatch(
                    ref=f"{sku_prefix}{number}-b", sku=f"{sku_prefix}{number}", qty=2_000_000_000, eta=date.max
                ),
                CAUSE,
            )
            for number in range(skus)
        )
    )


async def rate(service: Service, commands: Iterator[Command], in_flight: int, seconds: float) -> dict[str, float]:
    """Commands per second with `in_flight` concurrent commands."""
    deadline = time.perf_counter() + seconds
    done = 0

    async def keep_sending() -> None:
        nonlocal done
        while time.perf_counter() < deadline:
            await service.bus.handle(next(commands), CAUSE)
            done += 1

    started = time.perf_counter()
    await asyncio.gather(*(keep_sending() for _ in range(in_flight)))
    return {"rate": done / (time.perf_counter() - started), "done": done}


async def memory(service: Service, commands: Iterator[Command], early: int, late: int) -> dict[str, int]:
    """Resident bytes after `early` and after `late` commands."""
    resident: dict[int, int] = {}
    done = 0

    async def keep_sending() -> None:
        nonlocal done
        while done < late:
            done += 1
            number = done
            await service.bus.handle(next(commands), CAUSE)
            if number in {early, late}:
                resident[number] = resident_bytes(os.getpid())

    await asyncio.gather(*(keep_sending() for _ in range(256)))
    return {"early": resident[early], "late": resident[late]}


async def write_share(service: Service, commands: Iterator[Command], groups: int, size: int) -> dict[str, float]:
    """The median times of groups, and of the statements in them that write, in milliseconds."""
    writes: list[float] = []
    execute = PipelinedConnection.execute

    async def timed(self: PipelinedConnection, statement: str, *arguments: Any, **options: Any) -> Any:  # noqa: ANN401 - as the original
        started = time.perf_counter()
        try:
            return await execute(self, statement, *arguments, **options)
        finally:
            if arguments:
                writes.append(1000 * (time.perf_counter() - started))

    times = []
    with patch.object(PipelinedConnection, "execute", timed):
        for _ in range(groups):
            group = [Request(next(commands), CAUSE) for _ in range(size)]
            started = time.perf_counter()
            await service.bus.handle_group(group)
            times.append(1000 * (time.perf_counter() - started))
    return {"group_ms": statistics.median(times), "write_ms": statistics.median(writes)}


async def compare(
    rounds: int, first: Callable[[int], Awaitable[object]], second: Callable[[int], Awaitable[object]]
) -> dict[str, float]:
    """The median times of two actions that alternate, in milliseconds."""
    times: tuple[list[float], list[float]] = ([], [])
    for number in range(rounds):
        for which, work in enumerate((first, second)):
            started = time.perf_counter()
            await work(number)
            times[which].append(1000 * (time.perf_counter() - started))
    return {"first_ms": statistics.median(times[0]), "second_ms": statistics.median(times[1])}


async def compare_allocations(
    service: Service, first_sku: str, second_sku: str, rounds: int, tag: str, requirements: dict[str, Any] | None = None
) -> Any:  # noqa: ANN401
    """One allocation on either SKU, of a line with these requirements."""

    def allocate(sku: str, order_id: str) -> Awaitable[object]:
        return service.bus.handle(Allocate(order_id=order_id, sku=sku, qty=1, **(requirements or {})), CAUSE)

    return await compare(
        rounds,
        lambda number: allocate(first_sku, f"{tag}-1-{number}"),
        lambda number: allocate(second_sku, f"{tag}-2-{number}"),
    )


async def compare_cuts(service: Service, first_sku: str, second_sku: str, rounds: int, lines: int) -> Any:  # noqa: ANN401
    """One quantity cut that moves `lines` lines to another batch, on either SKU."""

    async def cut(sku: str, number: int) -> Callable[[int], Awaitable[object]]:
        ref = f"{sku}-cut-{number}"
        # It is in the warehouse, so lines are allocated to it; a cut to 0 moves them to the batch that never runs out.
        await service.bus.handle(CreateBatch(ref=ref, sku=sku, qty=lines), CAUSE)
        await asyncio.gather(
            *(service.bus.handle(Allocate(order_id=f"{ref}-{line}", sku=sku, qty=1), CAUSE) for line in range(lines))
        )

        async def run(_: int) -> object:
            changed = await service.bus.handle(ChangeBatchQuantity(ref=ref, qty=0), CAUSE)
            if len(changed.moved) != lines:
                message = f"{len(changed.moved)} lines moved, not {lines}"
                raise RuntimeError(message)
            return changed

        return run

    times: dict[str, list[float]] = {"first_ms": [], "second_ms": []}
    for number in range(rounds):
        figures = await compare(1, await cut(first_sku, number), await cut(second_sku, number))
        for name, value in figures.items():
            times[name].append(value)
    return {name: statistics.median(values) for name, values in times.items()}


MEASUREMENTS: dict[str, Callable[..., Awaitable[Any]]] = {
    each.__name__: each
    for each in (create_batches, rate, place, memory, write_share, compare_allocations, compare_cuts)
}


async def run(spec: dict[str, Any]) -> Any:  # noqa: ANN401 - figures that depend on the specification
    """Run the measurement that `do` names, with the rest of the specification as its arguments."""
    measure = MEASUREMENTS[spec.pop("do")]
    if "commands" in spec:
        spec["commands"] = allocations(**spec["commands"])
    async with bootstrap(Settings()) as service, service.bus:
        return await measure(service, **spec)


def main() -> None:
    """Run what the JSON in the first argument describes."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        sys.stdout.write(json.dumps(runner.run(run(json.loads(sys.argv[1])))))


if __name__ == "__main__":
    main()
