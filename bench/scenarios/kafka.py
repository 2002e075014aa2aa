"""Kafka: inbound messages and published events."""

import asyncio
import sys
import time
from collections.abc import Callable

from app.embedded.process import free_port
from bench import floors
from bench.plan import Plan
from bench.report import Row
from bench.scenarios.steps import IN_FLIGHT, MANY, empty_outbox, lines_of, metric, run_bus
from bench.stack import Stack, running_process

EVENT_HEADERS = 420
"""Bytes of headers of an event, which the plain producer sends as well."""


def kafka_in_to_out(stack: Stack, plan: Plan) -> list[Row]:
    """Inbound messages to published events, over the bus alone."""
    name = f"Kafka in to line_allocated.v1 out, {plan.messages:,} messages"
    row = Row(name, "over bus alone", [], at_least=0.6)
    over_sql = Row(name, "over the SQL baseline", [], at_least=2.5)
    over_pipe = Row(name, "over a plain consumer and producer", [], at_least=0.25)
    prefix = "kafka-"
    run_bus(stack, do="create_batches", sku_prefix=prefix, skus=MANY)
    commands = {"order_prefix": "okafkabus", "sku_prefix": prefix, "skus": MANY}
    plan.say("bus alone, for Kafka")
    bus = run_bus(stack, do="rate", commands=commands, in_flight=IN_FLIGHT, seconds=plan.seconds)
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
    plan.check(row.scenario, plan.messages, lines_of(stack, "okafka"))
    seen = asyncio.run(floors.read_all(stack, stack.settings.kafka_events_topic, plan.messages, 60))
    plan.check(row.scenario, plan.messages, min(seen, plan.messages))
    row.ratios.append(rate / bus["rate"])
    row.figures = {"messages/s": rate, "bus/s": bus["rate"]}
    plan.say("SQL and a plain pipe, for Kafka")
    run_bus(stack, do="create_batches", sku_prefix="kafka-sql-", skus=MANY)
    sql = floors.sql_rate(stack, "kafka-sql-", MANY, plan.seconds)
    pipe = asyncio.run(
        floors.kafka_pipe_rate(stack, stack.settings.kafka_inbound_topics[0], "floor.pipe", plan.messages)
    )
    over_sql.ratios.append(rate / sql)
    over_sql.figures = {"messages/s": rate, "SQL/s": sql}
    over_pipe.ratios.append(rate / pipe)
    over_pipe.figures = {"messages/s": rate, "pipe/s": pipe}
    empty_outbox(stack)
    return [row, over_sql, over_pipe]


async def _send_inbound(stack: Stack, sku_prefix: str, messages: int) -> None:
    from aiokafka import AIOKafkaProducer  # noqa: PLC0415 - only this scenario produces

    from app.adapters.kafka.clients import KafkaConfig, create_topics  # noqa: PLC0415

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
    """The relay emptying the outbox, over a plain producer sending the same bytes."""
    row = Row(f"relay draining {plan.relay_rows:,} rows", "over the plain producer", [], at_least=0.8)
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
                """WITH event AS (
                   INSERT INTO events (shard, subject, sequence, type, data, correlation_id, causation_id)
                   SELECT i % 16, $1::text || (i % 1000), i / 1000 + 1, 'line_allocated.v1',
                          format('{"sku":"%s","order_id":"o-%s","qty":1,"batch_ref":"batch-1"}',
                                 $1::text || (i % 1000), i),
                          gen_random_uuid()::text, gen_random_uuid()::text
                   FROM generate_series(0, $2::int - 1) AS i RETURNING id, shard
                   ) INSERT INTO outbox (id, shard) SELECT id, shard FROM event""",
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
        row.figures = {"rows/s": rate, "plain/s": floor}
    return [row]


def notifier_passes_over(stack: Stack, plan: Plan) -> list[Row]:
    """The notifier reading events that cause no mail, over a plain consumer of the same topic."""
    topic, port = stack.settings.kafka_events_topic, free_port()
    events = asyncio.run(floors.end_of(stack, topic))
    row = Row(f"notifier passing over {events:,} events", "over a plain consumer", [], at_least=0.7)
    for number in range(min(2, plan.rounds)):
        plan.say(f"notifier, round {number + 1}")
        started = time.perf_counter()
        read = asyncio.run(floors.read_all(stack, topic, events, 60))
        plain = read / (time.perf_counter() - started)
        # There may be more than the broker reported.
        plan.check(row.scenario, events, min(events, read))
        settings = {"ALLOCATION_KAFKA_NOTIFIER_GROUP": f"bench-notifier-{number}"}
        command = [sys.executable, "-m", "app", "notify", "--metrics-port", str(port)]
        with running_process(stack, command, settings):
            first = _passed(port, lambda passed: passed > 0)
            started = time.perf_counter()
            last = _passed(port, lambda passed: passed >= events)
            rate = (last - first) / (time.perf_counter() - started)
        row.ratios.append(rate / plain)
        row.figures = {"events/s": rate, "plain/s": plain}
    return [row]


def _passed(port: int, is_enough: Callable[[float], bool]) -> float:
    """The number of events that the notifier has passed over, as soon as it is enough."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            passed = metric(port, 'allocation_subscription_records_total{subscription="notifier"}')
        except OSError:
            passed = 0.0
        if is_enough(passed):
            return passed
        time.sleep(0.05)
    message = "the notifier has not passed over all events"
    raise RuntimeError(message)
