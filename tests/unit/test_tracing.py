"""Traces: the spans of a group and their links, what is recorded, and that none of it is there when it is off."""

import subprocess
import sys

import pytest

from app.observability import tracing
from app.service_layer.ports import Cause
from app.service_layer.requests import Request
from tests.support.errands import Desk, Errand
from tests.support.otlp import Collector, Received, collecting

TRACE = "0af7651916cd43dd8448eb211c80319c"
RECORDED = f"00-{TRACE}-b7ad6b7169203331-01"
UNRECORDED = f"00-{TRACE}-b7ad6b7169203332-00"


def request(name: str, traceparent: str | None, *, goes_wrong: bool = False) -> Request:
    return Request(Errand(name=name, goes_wrong=goes_wrong), Cause("request", "conversation", traceparent))


def named(collector: Collector, name: str) -> list[Received]:
    return [span for span in collector.spans if span.name == name]


def test_without_an_endpoint_nothing_is_traced_and_the_sdk_not_even_imported() -> None:
    program = f"""
import sys
import app.bootstrap, app.cli.processes, app.entrypoints.components, app.entrypoints.server
from app.observability import tracing
with tracing.exporting(None, 1.0), tracing.unit_of_work([{RECORDED!r}]):
    assert not tracing.is_on()
    assert tracing.start("server", "GET", None) is None
    assert tracing.follow("producer", "send", {RECORDED!r}) is None
print([name for name in sys.modules if name.startswith(("opentelemetry.sdk", "opentelemetry.exporter"))])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env={})
    assert done.stdout == "[]\n"


async def test_a_unit_of_work_is_in_one_trace_and_is_linked_to_every_recorded_request() -> None:
    others = [f"00-{number:032x}-{number:016x}-01" for number in range(1, 300)]
    requests = [request("unrecorded", UNRECORDED), request("none", None), request("first", RECORDED)]
    requests += [request(f"order-{number}", other) for number, other in enumerate(others)]
    with collecting() as collector, tracing.exporting(collector.url, 1.0):
        await Desk().bus.handle_group(requests)
        await Desk().bus.handle_group([request("alone", UNRECORDED)])
        tracing.start("server", "the last one", None).end()  # type: ignore[union-attr]

    (span,) = named(collector, "unit of work")
    assert (span.trace_id, span.parent_id) == (TRACE, "b7ad6b7169203331")
    assert [f"00-{trace}-{parent}-01" for trace, parent in span.links] == [RECORDED, *others]
    assert span.attributes == {"allocation.group.size": 302}
    assert not span.has_failed


async def test_a_unit_of_work_that_fails_says_so_and_its_commands_are_run_in_their_own() -> None:
    other = f"00-{1:032x}-{1:016x}-01"
    with collecting() as collector, tracing.exporting(collector.url, 1.0):
        await Desk().bus.handle_group([request("one", RECORDED), request("two", other, goes_wrong=True)])

    spans = named(collector, "unit of work")
    assert {(span.trace_id, len(span.links), span.attributes.get("error.type")) for span in spans} == {
        (TRACE, 2, "RuntimeError"),
        (TRACE, 1, None),
        (f"{1:032x}", 1, "RuntimeError"),
    }
    assert [span.has_failed for span in spans].count(True) == 2


def test_of_the_traces_that_begin_here_a_share_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("random.random", iter([0.0, 0.24, 0.25, 0.99]).__next__)
    with collecting() as collector, tracing.exporting(collector.url, 0.25):
        assert [tracing.records(None) for _ in range(4)] == [True, True, False, False]
        span = tracing.start("server", "GET", None)
        assert span is not None
        assert tracing.is_recorded(span.traceparent)
        span.end()
    assert [(span.name, span.parent_id) for span in collector.spans] == [("GET", "")]


@pytest.mark.parametrize("ratio", [0.0, 1.0])
def test_a_trace_that_began_elsewhere_is_recorded_where_its_beginning_was(ratio: float) -> None:
    with collecting() as collector, tracing.exporting(collector.url, ratio):
        assert tracing.records(RECORDED)
        assert not tracing.records(UNRECORDED)
        assert tracing.follow("producer", "send", UNRECORDED) is None
        span = tracing.start("server", "GET", RECORDED)
        assert span is not None
        assert span.traceparent.split("-")[1] == TRACE
        span.end()
    assert [span.parent_id for span in collector.spans] == ["b7ad6b7169203331"]


@pytest.mark.parametrize(
    "parent",
    [
        "",
        "nonsense",
        "00-1-2-01",
        "1" * 55,
        "1" * 56,
        "ü" * 54 + "1",
        RECORDED.upper(),
        f"{RECORDED}-1",
        f" {RECORDED[1:]}",
        f"{RECORDED}\n",
        f"ff-{RECORDED[3:]}",
        f"00-{0:032x}-{1:016x}-01",
        f"00-{1:032x}-{0:016x}-01",
        RECORDED.replace("-", "_"),
    ],
)
def test_what_is_no_traceparent_is_not_recorded(parent: str) -> None:
    with collecting() as collector, tracing.exporting(collector.url, 1.0):
        assert not tracing.records(parent)
        assert tracing.follow("consumer", "notify", parent) is None
    assert collector.spans == []


@pytest.mark.parametrize("parent", [f"00-{0:032x}-{0:016x}-01", "ü" * 54 + "1"])
def test_a_span_below_what_is_no_traceparent_begins_a_trace(parent: str) -> None:
    with collecting() as collector, tracing.exporting(collector.url, 1.0):
        span = tracing.start("consumer", "x", parent)
        assert span is not None
        span.end()
    assert [span.parent_id for span in collector.spans] == [""]


def test_opentelemetrys_own_variables_count_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    with collecting() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        monkeypatch.setenv("OTEL_SERVICE_NAME", "allocation-relay")
        with tracing.exporting(None, 1.0), tracing.following("consumer", "notify", RECORDED):
            pass
    assert [span.service for span in collector.spans] == ["allocation-relay"]


def test_an_unreachable_collector_does_not_delay_stopping(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.observability.otlp.SHUTDOWN_TIMEOUT", 0.05)
    with tracing.exporting("http://127.0.0.1:1", 1.0), tracing.following("consumer", "notify", RECORDED):
        pass
    assert not tracing.is_on()
