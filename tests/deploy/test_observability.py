"""Alerts, dashboard and configuration name existing metrics, labels, services and pages.

A parser of Prometheus checks the queries, and promtool if it is installed.
"""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.parser import text_string_to_metric_families

from app.observability import metrics
from tests.support import promtool

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "deploy/observability"
OVER_TIME = {"rate", "increase", "irate"}
# Labels that Prometheus adds, and metrics of its own and of its client's.
SCRAPED = {"job", "instance", "component"}
FOREIGN = re.compile(r"up|process_\w+")


def load(path: str) -> Any:  # noqa: ANN401 - whatever the file holds
    text = (ROOT / path).read_text(encoding="utf-8")
    return json.loads(text) if path.endswith(".json") else yaml.safe_load(text)


def rules() -> list[dict[str, Any]]:
    return [rule for group in load("deploy/observability/alerts.yml")["groups"] for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    dashboard = load("deploy/observability/grafana/dashboards/allocation.json")
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


@dataclass(frozen=True)
class Query:
    """An expression, and the text beside it that shows labels of its result."""

    where: str
    expression: str
    shown: str


def queries() -> list[Query]:
    of_panels = [
        Query(panel["title"], target["expr"].replace("$__rate_interval", "5m"), target.get("legendFormat", ""))
        for panel in panels()
        for target in panel["targets"]
    ]
    of_rules = [Query(rule["alert"], rule["expr"], " ".join(rule["annotations"].values())) for rule in rules()]
    return of_panels + of_rules


def nodes(expression: str) -> list[Any]:
    """All nodes of the expression. Raises ValueError if it is invalid."""
    found: list[Any] = []
    promql_parser.walk(promql_parser.parse(expression), found.append)
    return found


def selectors(expression: str) -> Iterator[tuple[str, set[str], bool]]:
    """The name, the selected labels, and whether the increase is used, for each metric."""
    everything = nodes(expression)
    rising = {
        str(selector)
        for call in everything
        if isinstance(call, promql_parser.Call) and call.func.name in OVER_TIME
        for argument in call.args
        for selector in nodes(str(argument))
        if isinstance(selector, promql_parser.VectorSelector)
    }
    for selector in everything:
        if isinstance(selector, promql_parser.VectorSelector):
            labels = {matcher.name for matcher in selector.matchers.matchers}
            assert selector.name is not None, expression
            yield selector.name, labels, str(selector) in rising


def shown_metrics() -> dict[str, str]:
    """The type of each series that /metrics may show, by its name."""
    types: dict[str, str] = {}
    for family in text_string_to_metric_families(metrics.exposition().decode()):
        match family.type:
            case "counter":
                types[f"{family.name}_total"] = "counter"
            case "histogram":
                types |= {f"{family.name}_{part}": "counter" for part in ("bucket", "sum", "count")}
            case other:
                types[family.name] = other
    return types


def labels_of(name: str) -> set[str]:
    ours = [metric for metric in vars(metrics).values() if isinstance(metric, MetricWrapperBase)]
    base = re.sub(r"_(total|bucket|sum|count)$", "", name)
    labels = {label for metric in ours if metric._name in {name, base} for label in metric._labelnames}
    return labels | SCRAPED | ({"le"} if name.endswith("_bucket") else set())


@pytest.mark.parametrize("query", queries(), ids=lambda query: query.where)
def test_a_query_names_existing_metrics_and_labels(query: Query) -> None:
    known = shown_metrics()
    labels: set[str] = set()
    for name, asked, rising in selectors(query.expression):
        labels |= labels_of(name)
        assert asked <= labels_of(name), name
        if not FOREIGN.fullmatch(name):
            assert name in known
            # The level of a counter says only since when the process runs; a gauge may fall.
            assert rising == (known[name] == "counter"), name
    grouped = {
        label
        for node in nodes(query.expression)
        if isinstance(node, promql_parser.AggregateExpr) and node.modifier is not None
        for label in node.modifier.labels
    }
    shown = set(re.findall(r"\{\{\s*(?:\$labels\.)?(\w+)\s*}}", query.shown))
    assert grouped | shown <= labels


def test_the_absence_of_every_kind_of_process_is_an_alert() -> None:
    """What is found by its name is not down when it is gone: it is not there."""
    (scraped,) = load("deploy/observability/prometheus.yml")["scrape_configs"]
    names = {name for source in scraped["dns_sd_configs"] for name in source["names"]}
    (rule,) = [rule for rule in rules() if rule["alert"] == "AllocationPartMissing"]
    watched = {
        matcher.value
        for call in nodes(rule["expr"])
        if isinstance(call, promql_parser.Call) and call.func.name == "absent"
        for argument in call.args
        for matcher in argument.matchers.matchers
        if matcher.name == "component"
    }
    assert watched == names - {"relay"}


def test_the_dashboard_shows_every_metric_of_the_service() -> None:
    used = {
        name
        for panel in panels()
        for target in panel["targets"]
        for name, _, _ in selectors(target["expr"].replace("$__rate_interval", "5m"))
    }
    families = {re.sub(r"_(bucket|sum|count)$", "", name) for name in shown_metrics() if name.startswith("allocation_")}
    assert families - {re.sub(r"_(bucket|sum|count)$", "", name) for name in used} == set()


def test_every_alert_links_to_its_section_on_the_page() -> None:
    sections = dict(re.findall(r"^## (\w+)\n\n`(page|ticket)`\. ", (ROOT / "docs/alerts.md").read_text(), re.MULTILINE))
    assert sections == {rule["alert"]: rule["labels"]["severity"] for rule in rules()}
    for rule in rules():
        assert set(rule["annotations"]) == {"summary", "runbook_url"}
        assert rule["annotations"]["runbook_url"] == f"docs/alerts.md#{rule['alert'].lower()}"


def test_pages_about_alerts_name_existing_metrics() -> None:
    for page in ("docs/alerts.md", "docs/monitoring.md"):
        named = set(re.findall(r"\ballocation_[a-z_]+", (ROOT / page).read_text()))
        shown = set(shown_metrics()) | {re.sub(r"_(bucket|sum|count)$", "", name) for name in shown_metrics()}
        assert {name for name in named if name not in shown} == set(), page


def test_the_dashboard_uses_configured_data_sources() -> None:
    path = "deploy/observability/grafana/provisioning/datasources/datasources.yml"
    known = {source["uid"] for source in load(path)["datasources"]}
    assert {panel["datasource"]["uid"] for panel in panels()} <= known
    assert len({panel["id"] for panel in panels()}) == len(panels())


def test_the_compose_profile_mounts_existing_files_and_scrapes_all_services() -> None:
    services = load("docker-compose.yml")["services"]
    watching = {name: service for name, service in services.items() if service.get("profiles") == ["observability"]}
    assert set(watching) == {"prometheus", "tempo", "grafana"}
    mounted = [volume.split(":")[0] for service in watching.values() for volume in service["volumes"]]
    assert [path for path in mounted if path.startswith("./") and not (ROOT / path).exists()] == []

    (job,) = load("deploy/observability/prometheus.yml")["scrape_configs"]
    scraped = {name: str(target["port"]) for target in job["dns_sd_configs"] for name in target["names"]}
    listening = {
        name: service["command"][-1]
        for name, service in services.items()
        if {"--port", "--metrics-port"} & set(service.get("command", ()))
    }
    assert scraped == listening
    assert load("deploy/observability/tempo.yml")["distributor"]["receivers"]["otlp"]["protocols"]["http"]


@pytest.mark.skipif(promtool.find() is None, reason="there is no promtool; `make promtool` fetches it")
def test_promtool_finds_no_fault(tmp_path: Path) -> None:
    program = promtool.find()
    assert program is not None
    for path in [FOLDER / "prometheus.yml", FOLDER / "alerts.yml", ROOT / "tests/deploy/alerts.test.yml"]:
        shutil.copy(path, tmp_path)
    for arguments in (["check", "config", "prometheus.yml"], ["test", "rules", "alerts.test.yml"]):
        done = subprocess.run([program, *arguments], cwd=tmp_path, check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
