"""deploy/alerts.yml and prometheus.yml, read by Prometheus's own promtool."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml

from tests.support.debian_program import find_program
from tests.support.paths import ROOT

pytestmark = pytest.mark.installs


@pytest.fixture(scope="module")
def promtool() -> Path:
    found = find_program("promtool", package="prometheus")
    if found is None:
        pytest.skip("!! NOT RUN: promtool is not on the PATH, and Debian's package prometheus cannot be fetched here.")
    return found


def run(promtool: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(promtool), *map(str, arguments)], capture_output=True, text=True, check=False)


def test_prometheus_understands_the_rules_and_the_alerts_fire_when_they_should(promtool: Path) -> None:
    checked = run(promtool, "check", "rules", ROOT / "deploy/alerts.yml")
    assert checked.returncode == 0 and "SUCCESS" in checked.stdout, checked.stdout + checked.stderr
    tested = run(promtool, "test", "rules", ROOT / "deploy/alerts_test.yml")
    assert tested.returncode == 0 and "SUCCESS" in tested.stdout, tested.stdout + tested.stderr


def test_prometheus_understands_its_configuration(promtool: Path, tmp_path: Path) -> None:
    # It looks for the rules where the container has them.
    text = (ROOT / "deploy/prometheus.yml").read_text().replace("/etc/prometheus/", f"{ROOT / 'deploy'}/")
    (tmp_path / "prometheus.yml").write_text(text)
    checked = run(promtool, "check", "config", tmp_path / "prometheus.yml")
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_every_alert_is_seen_to_fire() -> None:
    rules = yaml.safe_load((ROOT / "deploy/alerts.yml").read_text())
    alerts = {rule["alert"] for group in rules["groups"] for rule in group["rules"]}
    cases = [
        case
        for test in yaml.safe_load((ROOT / "deploy/alerts_test.yml").read_text())["tests"]
        for case in test["alert_rule_test"]
    ]
    assert alerts == {case["alertname"] for case in cases if case["exp_alerts"]}


def test_a_mistake_would_be_noticed(promtool: Path, tmp_path: Path) -> None:
    rules = (ROOT / "deploy/alerts.yml").read_text()
    assert "> 0.01" in rules
    (tmp_path / "alerts.yml").write_text(rules.replace("> 0.01", "> 0.5"))
    (tmp_path / "alerts_test.yml").write_text((ROOT / "deploy/alerts_test.yml").read_text())
    assert run(promtool, "test", "rules", tmp_path / "alerts_test.yml").returncode != 0
