"""The doctor's checks of what only a database with several cells needs."""

from collections import defaultdict

from app.adapters.postgresql.placement import Placement, placement_of
from app.adapters.postgresql.unavailable import DatabaseUnavailableError
from app.bootstrap import Service
from app.operations.findings import Finding, Verdict


async def check_cells(service: Service) -> list[Finding]:
    """Where the cells are. Finds nothing with one cell, and where another check reports a fault of the database."""
    if service.settings.cells == 1:
        return []
    try:
        placement = await placement_of(service.cells, service.settings.time_zone)
    except DatabaseUnavailableError:
        return []
    number = f"{service.settings.cells} cells"
    if placement is None:
        return [Finding("cells", Verdict.OK, f"{number} on one server, without Citus")]
    return [*_nodes(number, placement), *_settings(placement)]


def check_partitions(topic: str, partitions: int, cells: int) -> list[Finding]:
    """A warning if the partitions of the topic cannot be shared out among the cells."""
    if partitions % cells == 0:
        return []
    text = f"{topic}: {partitions} partitions, no multiple of ALLOCATION_CELLS, which is {cells}"
    advice = "everything is correct, but groups of messages are of several cells and cost more; see docs/cells.md"
    return [Finding("topic", Verdict.WARNING, text, advice)]


def _nodes(number: str, placement: Placement) -> list[Finding]:
    schemas_of: defaultdict[str, list[str]] = defaultdict(list)
    local = []
    for schema, node in placement.nodes.items():
        if node is None:
            local.append(schema)
        else:
            schemas_of[node].append(schema)
    placed = "; ".join(f"{', '.join(schemas)} at {node}" for node, schemas in schemas_of.items())
    findings = [Finding("cells", Verdict.OK, f"{number}: {placed}")] if placed else []
    if local:
        text = f"not distributed by Citus: {', '.join(local)}"
        advice = "call citus_schema_distribute for each; without it only the coordinator can use them"
        findings.append(Finding("cells", Verdict.WARNING, text, advice))
    return findings


def _settings(placement: Placement) -> list[Finding]:
    missing = placement.missing_settings
    if not missing:
        return []
    wanted = ", ".join(f"{name} = '{value}'" for name, value in missing.items())
    text = f"the role lacks settings that sessions of Citus on other nodes need: {wanted}"
    return [Finding("cells", Verdict.WARNING, text, "set each with ALTER ROLE … SET; see docs/cells.md")]
