"""The scenarios: each returns the rows of the table that it fills, and says what came out wrong."""

import asyncio
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from bench import floors
from bench.report import Row
from bench.stack import Stack, run_json, running_process, running_server

MANY = 1000
"""SKUs in the scenarios that spread over many."""

IN_FLIGHT = 256
CONNECTIONS = 64
FLOOD_CONNECTIONS = 8000
"""As many as a process takes, nearly: whoever comes beyond that is told to use fewer."""
EVENT_HEADERS = 420
"""Bytes of headers that an event has, for the bare producer to send as well."""


@dataclass
class Plan:
    """How long and how large a run is, and what it has found to be wrong."""

    rounds: int
    seconds: int
    messages: int
    relay_rows: int
    lines_behind: int
    batches_behind: int
    compare_rounds: int
    cut_rounds: int
    memory_commands: int
    import_rows: int
    say: Callable[[str], None]
    faults: list[str] = field(default_factory=list)

    def check(self, scenario: str, expected: object, found: object) -> None:
        """Note a wrong result."""
        if expected != found:
            self.faults.append(f"{scenario}: expected {expected}, found {found}")


def _bus(stack: Stack, **spec: Any) -> Any:  # noqa: ANN401 - figures
    return run_json(stack, "bench.bus", json.dumps(spec))


def _load(stack: Stack, port: int, **spec: Any) -> Any:  # noqa: ANN401 - figures
    return run_json(stack, "bench.load", json.dumps({"port": port, **spec}))


def _lines_of(stack: Stack, order_prefix: str) -> int:
    return int(stack.value_of("SELECT count(*) FROM order_lines WHERE order_id LIKE $1 || '-%'", order_prefix))


def _drifted(stack: Stack, sku_prefix: str) -> int:
    """How many batches of the SKUs do not have the sum of their lines as allocated."""
    return int(
        stack.value_of(
            """SELECT count(*) FROM batches b LEFT JOIN (
                   SELECT sku, batch_number, sum(qty) AS qty, count(*) AS lines FROM order_lines
                   WHERE sku LIKE $1 || '%' GROUP BY sku, batch_number
               ) AS held ON held.sku = b.sku AND held.batch_number = b.number
               WHERE b.sku LIKE $1 || '%'
               AND (b.allocated_qty, b.allocated_lines) <> (coalesce(held.qty, 0), coalesce(held.lines, 0))""",
            sku_prefix,
        )
    )


def bus_against_sql(stack: Stack, plan: Plan) -> list[Row]:
    """The bus alone over hand-written SQL, on many SKUs and on one."""
    rows = []
    for name, skus, at_least in (("1,000 SKUs", MANY, 3.0), ("one hot SKU", 1, 12.0)):
        row = Row(f"bus alone, 256 in flight, {name}", "over the SQL floor", [], at_least=at_least)
        for number in range(plan.rounds):
            plan.say(f"bus and SQL, {name}, round {number + 1}")
            own, floor = f"bus{skus}-{number}-", f"sql{skus}-{number}-"
            for prefix in (own, floor):
                _bus(stack, do="create", sku_prefix=prefix, skus=skus)
            sql = floors.sql_rate(stack, floor, skus, plan.seconds)
            commands = {"order_prefix": f"o{own}x", "sku_prefix": own, "skus": skus}
            bus = _bus(stack, do="rate", commands=commands, in_flight=IN_FLIGHT, seconds=plan.seconds)
            plan.check(row.scenario, bus["done"], _lines_of(stack, f"o{own}x"))
            plan.check(row.scenario, 0, _drifted(stack, own))
            row.ratios.append(bus["rate"] / sql)
            row.figures = {"bus/s": bus["rate"], "SQL/s": sql}
            empty_outbox(stack)
        rows.append(row)
    return rows


def http_against_noop(stack: Stack, plan: Plan) -> list[Row]:
    """POST and GET over routes that do nothing, and a hot SKU over many."""
    post = Row("POST /v1/allocations, 64 connections, 1,000 SKUs", "over the no-op route", [], at_least=0.6)
    hot = Row("the same on one hot SKU", "over the same on 1,000 SKUs", [], at_least=1.0)
    get = Row("GET /v1/allocations/{order_id}", "over a no-op GET", [], at_least=0.8)
    closed = {"connections": CONNECTIONS, "seconds": plan.seconds}
    with running_server(stack, "app", "serve") as port, running_server(stack, "bench.noop") as noop:
        for number in range(plan.rounds):
            plan.say(f"HTTP, round {number + 1}")
            many, one = f"http-{number}-", f"hot-{number}-"
            _bus(stack, do="create", sku_prefix=many, skus=MANY)
            _bus(stack, do="create", sku_prefix=one, skus=1)
            floor = _load(stack, noop, run=closed, post={"order_prefix": "n", "sku_prefix": many, "skus": MANY})
            spread = _load(
                stack, port, run=closed, post={"order_prefix": f"o{many}x", "sku_prefix": many, "skus": MANY}
            )
            single = _load(stack, port, run=closed, post={"order_prefix": f"o{one}x", "sku_prefix": one, "skus": 1})
            for row, load, prefix in ((post, spread, many), (hot, single, one)):
                answered = sum(load["statuses"].values())
                plan.check(row.scenario, {"201": answered}, load["statuses"])
                plan.check(row.scenario, answered, _lines_of(stack, f"o{prefix}x"))
                plan.check(row.scenario, 0, _drifted(stack, prefix))
            post.ratios.append(spread["rate"] / floor["rate"])
            post.figures = {"POST/s": spread["rate"], "no-op/s": floor["rate"], "p99 ms": spread["p99_ms"]}
            hot.ratios.append(single["rate"] / spread["rate"])
            hot.figures = {"POST/s": single["rate"], "p99 ms": single["p99_ms"]}
            orders = {"order_prefix": f"o{many}x", "orders": min(10_000, sum(spread["statuses"].values()))}
            noop_get = _load(stack, noop, run=closed, get=orders)
            own_get = _load(stack, port, run=closed, get=orders)
            plan.check(get.scenario, ["200"], list(own_get["statuses"]))
            get.ratios.append(own_get["rate"] / noop_get["rate"])
            get.figures = {"GET/s": own_get["rate"], "no-op/s": noop_get["rate"]}
            empty_outbox(stack)
    return [post, hot, get]


def latency_and_overload(stack: Stack, plan: Plan) -> list[Row]:
    """Latency at half of the highest rate; shedding at twice the highest rate, and the recovery from it."""
    prefix = "open-"
    _bus(stack, do="create", sku_prefix=prefix, skus=MANY)
    latency = Row("latency at half of the highest rate", "p99 over p50", [], at_most=5.0)
    overload = Row("open loop at twice the highest rate", "accepted over highest rate", [])
    recovery = Row("latency a second after it", "p99 over that before", [])
    with running_server(stack, "app", "serve") as port:

        def post(tag: str) -> dict[str, Any]:
            return {"order_prefix": f"o{prefix}{tag}", "sku_prefix": prefix, "skus": MANY}

        closed = {"connections": CONNECTIONS, "seconds": plan.seconds}
        highest = _load(stack, port, run=closed, post=post("warm"))["rate"]
        stack.checkpoint()
        for number in range(plan.rounds):
            plan.say(f"open loop, round {number + 1}")
            half = {"rate": highest / 2, "seconds": plan.seconds, "connections": CONNECTIONS}
            before = _load(stack, port, run=half, post=post(f"half{number}"))
            plan.check(latency.scenario, ["201"], list(before["statuses"]))
            latency.ratios.append(before["p99_ms"] / before["p50_ms"])
            latency.figures = {"p50 ms": before["p50_ms"], "p99 ms": before["p99_ms"], "offered/s": highest / 2}
            twice = {"rate": highest * 2, "seconds": plan.seconds, "connections": FLOOD_CONNECTIONS}
            flood = _load(stack, port, run=twice, post=post(f"flood{number}"))
            accepted = flood["statuses"].get("201", 0)
            plan.check(overload.scenario, [], [status for status in flood["statuses"] if status not in {"201", "503"}])
            plan.check(overload.scenario, accepted, _lines_of(stack, f"o{prefix}flood{number}"))
            overload.ratios.append(accepted / plan.seconds / highest)
            overload.figures = {"p99 ms of the accepted": flood["p99_ms"], **flood["statuses"]}
            time.sleep(1)
            after = _load(stack, port, run=half, post=post(f"after{number}"))
            plan.check(recovery.scenario, ["201"], list(after["statuses"]))
            recovery.ratios.append(after["p99_ms"] / before["p99_ms"])
            empty_outbox(stack)
    return [latency, overload, recovery]


def two_workers(stack: Stack, plan: Plan) -> list[Row]:
    """Two processes behind one port over one."""
    row = Row("POST, 1,000 SKUs, 2 workers", "over one worker", [])
    for number in range(plan.rounds):
        plan.say(f"two workers, round {number + 1}")
        rates = []
        for workers in (1, 2):
            prefix = f"workers-{number}-{workers}-"
            _bus(stack, do="create", sku_prefix=prefix, skus=MANY)
            with running_server(stack, "app", "serve", "--workers", str(workers)) as port:
                post = {"order_prefix": f"o{prefix}x", "sku_prefix": prefix, "skus": MANY}
                load = _load(stack, port, run={"connections": CONNECTIONS, "seconds": plan.seconds}, post=post)
            answered = sum(load["statuses"].values())
            plan.check(row.scenario, {"201": answered}, load["statuses"])
            plan.check(row.scenario, answered, _lines_of(stack, f"o{prefix}x"))
            plan.check(row.scenario, 0, _drifted(stack, prefix))
            rates.append(load["rate"])
            row.figures[f"{workers} workers POST/s"] = load["rate"]
        row.ratios.append(rates[1] / rates[0])
        empty_outbox(stack)
    return [row]


def kafka_in_to_out(stack: Stack, plan: Plan) -> list[Row]:
    """Inbound messages to published events, over the bus alone."""
    row = Row(f"Kafka in to line_allocated.v1 out, {plan.messages:,} messages", "over bus alone", [], at_least=0.6)
    prefix = "kafka-"
    _bus(stack, do="create", sku_prefix=prefix, skus=MANY)
    commands = {"order_prefix": "okafkabus", "sku_prefix": prefix, "skus": MANY}
    plan.say("bus alone, for Kafka")
    bus = _bus(stack, do="rate", commands=commands, in_flight=IN_FLIGHT, seconds=plan.seconds)
    empty_outbox(stack)
    plan.say("Kafka in to out")
    asyncio.run(_send_inbound(stack, prefix, plan.messages))
    with running_process(stack, [sys.executable, "-m", "app", "relay"]):
        started, first = 0.0, 0
        with running_process(stack, [sys.executable, "-m", "app", "consume"]):
            done = 0
            deadline = time.monotonic() + 120
            while done < plan.messages and time.monotonic() < deadline:
                done = int(stack.value_of("SELECT count(*) FROM inbox"))
                if not started and done:
                    started = time.perf_counter()
                    first = done
                time.sleep(0.05)
            while int(stack.value_of("SELECT count(*) FROM outbox")) and time.monotonic() < deadline:
                time.sleep(0.05)
            rate = (plan.messages - first) / (time.perf_counter() - started)
    plan.check(row.scenario, plan.messages, _lines_of(stack, "okafka"))
    seen = asyncio.run(floors.read_all(stack, stack.settings.kafka_events_topic, plan.messages, 60))
    plan.check(row.scenario, plan.messages, min(seen, plan.messages))
    row.ratios.append(rate / bus["rate"])
    row.figures = {"messages/s": rate, "bus/s": bus["rate"]}
    return [row]


async def _send_inbound(stack: Stack, sku_prefix: str, messages: int) -> None:
    from aiokafka import AIOKafkaProducer  # noqa: PLC0415 - only this scenario produces

    from app.adapters.kafka import KafkaConfig, create_topics  # noqa: PLC0415

    bootstrap_servers = stack.settings.kafka_bootstrap_servers
    await create_topics(KafkaConfig(bootstrap_servers), stack.settings.kafka_inbound_topics)
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap_servers, acks="all", max_batch_size=500_000)
    await producer.start()
    try:
        for number in range(messages):
            sku = f"{sku_prefix}{number % MANY}"
            await producer.send(
                stack.settings.kafka_inbound_topics[0],
                f'{{"order_id":"okafka-{number}","sku":"{sku}","qty":1}}'.encode(),
                key=sku.encode(),
                headers=[("ce_id", f"m-{number}".encode()), ("ce_type", b"allocation_required.v1")],
            )
        await producer.flush()
    finally:
        await producer.stop()


def relay_drain(stack: Stack, plan: Plan) -> list[Row]:
    """The relay emptying the outbox, over a bare producer sending the same bytes."""
    row = Row(f"relay draining {plan.relay_rows:,} rows", "over the bare producer", [], at_least=0.5)
    for number in range(min(2, plan.rounds)):
        plan.say(f"relay, round {number + 1}")
        prefix = f"relay-{number}-"
        data = '{"sku":"%s","order_id":"o-%s","qty":1,"batch_ref":"batch-1"}'
        records = [
            ((sku := f"{prefix}{i % MANY}").encode(), (data % (sku, i)).encode()) for i in range(plan.relay_rows)
        ]
        floor = asyncio.run(floors.kafka_send_rate(stack, f"floor.{number}", records, EVENT_HEADERS))
        empty_outbox(stack)
        asyncio.run(
            stack.execute(
                """WITH told AS (
                   INSERT INTO events (shard, subject, sequence, type, data, correlation_id, causation_id)
                   SELECT i % 16, $1::text || (i % 1000), i / 1000 + 1, 'line_allocated.v1',
                          format('{"sku":"%s","order_id":"o-%s","qty":1,"batch_ref":"batch-1"}',
                                 $1::text || (i % 1000), i),
                          gen_random_uuid()::text, gen_random_uuid()::text
                   FROM generate_series(0, $2::int - 1) AS i RETURNING id, shard
                   ) INSERT INTO outbox (id, shard) SELECT id, shard FROM told""",
                prefix,
                plan.relay_rows,
            )
        )
        with running_process(stack, [sys.executable, "-m", "app", "relay"]):
            left = plan.relay_rows
            while left == plan.relay_rows:
                left = int(stack.value_of("SELECT count(*) FROM outbox"))
                time.sleep(0.01)
            started, first = time.perf_counter(), plan.relay_rows - left
            while int(stack.value_of("SELECT count(*) FROM outbox")):
                time.sleep(0.02)
            rate = (plan.relay_rows - first) / (time.perf_counter() - started)
        row.ratios.append(rate / floor)
        row.figures = {"rows/s": rate, "bare/s": floor}
    return [row]


def flatness(stack: Stack, plan: Plan) -> list[Row]:
    """What history costs: lines and sold-out batches behind a SKU."""
    lines = Row(f"one allocation, {plan.lines_behind:,} lines behind", "p50 over none", [], at_most=1.15)
    batches = Row(f"one allocation, {plan.batches_behind:,} sold-out batches", "p50 over none", [], at_most=1.15)
    cuts = Row("one cut that moves 100 lines, on that SKU", "p50 over a new one", [], at_most=1.3)
    for sku in ("old-0", "new-0", "batches-0", "single-0"):
        _bus(stack, do="create", sku_prefix=sku[:-1], skus=1)
    plan.say(f"{plan.lines_behind:,} lines behind a SKU")
    asyncio.run(_put_lines_behind(stack, "old-0", plan.lines_behind))
    asyncio.run(_put_batches_behind(stack, "batches-0", plan.batches_behind))
    for number in range(plan.rounds):
        plan.say(f"flatness, round {number + 1}")
        for row, old, new in ((lines, "old-0", "new-0"), (batches, "batches-0", "single-0")):
            figures = _bus(
                stack,
                do="compare_allocations",
                first_sku=old,
                second_sku=new,
                rounds=plan.compare_rounds,
                tag=f"flat-{old}-{number}",
            )
            row.ratios.append(figures["first_ms"] / figures["second_ms"])
            row.figures = {"p50 ms": figures["first_ms"], "p50 ms with none": figures["second_ms"]}
    plan.say("cuts")
    _bus(stack, do="create", sku_prefix="fresh-", skus=1)
    figures = _bus(stack, do="compare_cuts", first_sku="old-0", second_sku="fresh-0", rounds=plan.cut_rounds, lines=100)
    cuts.ratios.append(figures["first_ms"] / figures["second_ms"])
    cuts.figures = {"p50 ms": figures["first_ms"], "p50 ms on a new one": figures["second_ms"]}
    for sku in ("old-0", "batches-0", "fresh-0"):
        plan.check("flatness", 0, _drifted(stack, sku))
    empty_outbox(stack)
    return [lines, batches, cuts]


async def _put_lines_behind(stack: Stack, sku: str, count: int) -> None:
    await stack.execute(
        """INSERT INTO order_lines (order_id, sku, qty, requested, batch_number, allocated)
           SELECT 'behind-' || i, $1, 1, 1 + i, 1, 1 + i FROM generate_series(1, $2::int) AS i""",
        sku,
        count,
    )
    await stack.execute(
        "UPDATE batches SET allocated_qty = $2::int, allocated_lines = $2::int WHERE sku = $1", sku, count
    )
    await stack.execute("UPDATE products SET sequence = $2::int + 1 WHERE sku = $1", sku, count)


async def _put_batches_behind(stack: Stack, sku: str, count: int) -> None:
    """Sold out: each with one line that holds all of it."""
    await stack.execute(
        """INSERT INTO batches (sku, number, ref, qty, allocated_qty, allocated_lines, first_qty)
           SELECT $1, 1 + i, 'behind-' || i, 1, 1, 1, 1 FROM generate_series(1, $2::int) AS i""",
        sku,
        count,
    )
    await stack.execute(
        """INSERT INTO order_lines (order_id, sku, qty, requested, batch_number, allocated)
           SELECT 'sold-' || i, $1, 1, 100000 + i, 1 + i, 100000 + i FROM generate_series(1, $2::int) AS i""",
        sku,
        count,
    )
    await stack.execute("UPDATE products SET sequence = 200000 + $2::int WHERE sku = $1", sku, count)


def memory(stack: Stack, plan: Plan) -> list[Row]:
    """Resident memory of the bus after many commands."""
    plan.say(f"memory over {plan.memory_commands:,} commands")
    _bus(stack, do="create", sku_prefix="memory-", skus=MANY)
    commands = {"order_prefix": "omemory", "sku_prefix": "memory-", "skus": MANY}
    found = _bus(stack, do="memory", commands=commands, early=10_000, late=plan.memory_commands)
    plan.check("memory", plan.memory_commands, _lines_of(stack, "omemory"))
    growth = Row(f"resident memory after {plan.memory_commands:,} commands", "over that after 10,000", [], at_most=1.1)
    growth.ratios.append(found["late"] / found["early"])
    size = Row("the same, in MB", "", [found["late"] / 1e6], at_most=200)
    empty_outbox(stack)
    return [growth, size]


def empty_outbox(stack: Stack) -> None:
    """Forget what was not published: the next scenario starts where this one started."""
    asyncio.run(stack.execute("TRUNCATE outbox, events"))
