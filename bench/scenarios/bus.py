"""The message bus alone: its rate, and its memory."""

from bench import floors
from bench.plan import Plan
from bench.report import Row
from bench.scenarios.steps import IN_FLIGHT, MANY, drifted, empty_outbox, lines_of, run_bus
from bench.stack import Stack


def bus_against_sql(stack: Stack, plan: Plan) -> list[Row]:
    """The bus alone over hand-written SQL, on many SKUs and on one."""
    rows = []
    for name, skus, at_least in (("1,000 SKUs", MANY, 4.0), ("one hot SKU", 1, 20.0)):
        row = Row(f"bus alone, 256 in flight, {name}", "over the SQL baseline", [], at_least=at_least)
        for number in range(plan.rounds):
            plan.say(f"bus and SQL, {name}, round {number + 1}")
            own, floor = f"bus{skus}-{number}-", f"sql{skus}-{number}-"
            for prefix in (own, floor):
                run_bus(stack, do="create_batches", sku_prefix=prefix, skus=skus)
            sql = floors.sql_rate(stack, floor, skus, plan.seconds)
            commands = {"order_prefix": f"o{own}x", "sku_prefix": own, "skus": skus}
            bus = run_bus(stack, do="rate", commands=commands, in_flight=IN_FLIGHT, seconds=plan.seconds)
            plan.check(row.scenario, bus["done"], lines_of(stack, f"o{own}x"))
            plan.check(row.scenario, 0, drifted(stack, own))
            row.ratios.append(bus["rate"] / sql)
            row.figures = {"bus/s": bus["rate"], "SQL/s": sql}
            empty_outbox(stack)
        rows.append(row)
    return rows


def memory(stack: Stack, plan: Plan) -> list[Row]:
    """Resident memory of the bus after many commands."""
    plan.say(f"memory over {plan.memory_commands:,} commands")
    run_bus(stack, do="create_batches", sku_prefix="memory-", skus=MANY)
    commands = {"order_prefix": "omemory", "sku_prefix": "memory-", "skus": MANY}
    found = run_bus(stack, do="memory", commands=commands, early=10_000, late=plan.memory_commands)
    plan.check("memory", plan.memory_commands, lines_of(stack, "omemory"))
    growth = Row(f"resident memory after {plan.memory_commands:,} commands", "over that after 10,000", [], at_most=1.1)
    growth.ratios.append(found["late"] / found["early"])
    size = Row("the same, in MB", "", [found["late"] / 1e6], at_most=200)
    empty_outbox(stack)
    return [growth, size]


def write_share(stack: Stack, plan: Plan) -> list[Row]:
    """The write statement's share of the time of a group: a faster service could save no more than the rest."""
    plan.say("write statement of groups of 100")
    run_bus(stack, do="create_batches", sku_prefix="share-", skus=MANY)
    commands = {"order_prefix": "oshare", "sku_prefix": "share-", "skus": MANY}
    found = run_bus(stack, do="write_share", commands=commands, groups=20 * plan.seconds, size=100)
    row = Row("write statement of a group of 100", "over the whole group", [found["write_ms"] / found["group_ms"]])
    row.figures = {"write ms": found["write_ms"], "group ms": found["group_ms"]}
    empty_outbox(stack)
    return [row]
