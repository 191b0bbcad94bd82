"""Metrics in the documents, the dashboard and the alerts: every metric is documented, and every one that is named exists."""

from __future__ import annotations

import json
import re

import pytest
import yaml

from askew_server.observability.metrics import Metrics, ServerNumbers
from tests.support.paths import ROOT

SUFFIXES = ("_bucket", "_sum", "_count")


@pytest.fixture(scope="module")
def metrics() -> set[str]:
    """The names of the server's own metrics as Prometheus knows them."""
    text = Metrics("1").render(ServerNumbers(ready=True)).decode()
    return {name for name in re.findall(r"^# TYPE (\S+) ", text, re.MULTILINE) if name.startswith("askew_")}


def test_every_metric_is_documented(metrics: set[str]) -> None:
    text = (ROOT / "docs/observability.md").read_text()
    assert len(metrics) > 20
    assert sorted(name for name in metrics if f"`{name}`" not in text) == []


def test_every_documented_metric_exists(metrics: set[str]) -> None:
    text = (ROOT / "docs/observability.md").read_text()
    assert sorted(_used(text) - metrics) == []


def test_the_dashboard_and_the_alerts_use_only_existing_metrics(metrics: set[str]) -> None:
    dashboard = json.loads((ROOT / "deploy/grafana/askew.json").read_text())
    shown = {name for panel in dashboard["panels"] for target in panel["targets"] for name in _used(target["expr"])}
    rules = yaml.safe_load((ROOT / "deploy/alerts.yml").read_text())["groups"][0]["rules"]
    watched = {name for rule in rules for name in _used(rule["expr"])}
    assert len(watched) > 4
    assert sorted((shown | watched) - metrics) == []
    assert sorted(metrics - shown) == [], "these metrics have no panel"


def _used(text: str) -> set[str]:
    names = set(re.findall(r"\baskew_(?!server|client)[a-z0-9_]+", text))
    return {next((name.removesuffix(each) for each in SUFFIXES if name.endswith(each)), name) for name in names}
