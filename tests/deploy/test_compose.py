"""docker-compose.yml: valid by the compose specification, and as closed as the docs say; what it mounts exists."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.paths import ROOT

COMPOSE = ROOT / "docker-compose.yml"


def check_schema(path: Path) -> subprocess.CompletedProcess[str]:
    # The specification's own JSON schema, as check-jsonschema ships it.
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def service() -> dict[str, Any]:
    document = yaml.safe_load(COMPOSE.read_text())
    assert [name for name, each in document["services"].items() if "profiles" not in each] == ["askew"]
    return document["services"]["askew"]


def test_it_fits_the_compose_specification() -> None:
    checked = check_schema(COMPOSE)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_schema_would_notice_a_mistake(tmp_path: Path) -> None:
    wrong = tmp_path / "docker-compose.yml"
    wrong.write_text(COMPOSE.read_text().replace("read_only:", "readonly:"))
    assert check_schema(wrong).returncode == 1


def test_it_is_reachable_from_this_machine_only(service: dict[str, Any]) -> None:
    assert service["ports"] == ["127.0.0.1:8000:8000"]


def test_the_container_has_no_more_rights_than_it_needs(service: dict[str, Any]) -> None:
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["tmpfs"] == ["/tmp"]
    assert "privileged" not in service and "user" not in service


def test_the_data_is_in_a_volume_and_the_server_restarts(service: dict[str, Any]) -> None:
    assert service["volumes"] == ["askew-data:/data"]
    assert service["restart"] == "unless-stopped"
    assert "/readyz" in " ".join(service["healthcheck"]["test"])


def test_what_watches_the_server_is_a_profile_and_reachable_from_this_machine_only() -> None:
    services = yaml.safe_load(COMPOSE.read_text())["services"]
    watching = {name: each for name, each in services.items() if "profiles" in each}
    assert {name: each["profiles"] for name, each in watching.items()} == {
        "prometheus": ["observability"],
        "grafana": ["observability"],
    }
    published = [port for each in watching.values() for port in each.get("ports", [])]
    assert published and all(port.startswith("127.0.0.1:") for port in published)
    for each in watching.values():
        assert re.fullmatch(r"[a-z/]+:v?\d+\.\d+\.\d+", each["image"]), "a version, not `latest`"
        assert each["cap_drop"] == ["ALL"] and each["security_opt"] == ["no-new-privileges:true"]
        mounted = [volume for volume in each["volumes"] if volume.startswith("./")]
        assert mounted and all(volume.endswith(":ro") for volume in mounted)
        assert [volume for volume in mounted if not (ROOT / volume.split(":")[0]).is_file()] == []


def test_prometheus_is_configured_with_the_servers_name_and_port() -> None:
    document = yaml.safe_load((ROOT / "deploy/prometheus.yml").read_text())
    assert document["scrape_configs"][0]["static_configs"][0]["targets"] == ["askew:8000"]
    assert document["rule_files"] == ["/etc/prometheus/alerts.yml"]


def test_grafana_finds_its_source_under_the_name_that_the_dashboard_uses() -> None:
    source = yaml.safe_load((ROOT / "deploy/grafana/datasource.yml").read_text())["datasources"][0]
    dashboard = json.loads((ROOT / "deploy/grafana/askew.json").read_text())
    used = {target["datasource"]["uid"] for panel in dashboard["panels"] for target in panel["targets"]}
    assert used == {source["uid"]}


def test_it_builds_the_image_that_is_tested(service: dict[str, Any]) -> None:
    assert (ROOT / service["build"]["context"] / service["build"]["dockerfile"]).is_file()
