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
OWN_GALLERY = ROOT / "deploy/own-gallery.yml"
SERVERS = ("askew", "askew-gpu")


def check_schema(path: Path) -> subprocess.CompletedProcess[str]:
    # The specification's own JSON schema, as check-jsonschema ships it.
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def services() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = yaml.safe_load(COMPOSE.read_text())["services"]
    return found


def test_it_fits_the_compose_specification() -> None:
    checked = check_schema(COMPOSE)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_your_own_gallery_replaces_the_demo_and_is_never_open(services: dict[str, dict[str, Any]]) -> None:
    checked = check_schema(OWN_GALLERY)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    own = yaml.safe_load(OWN_GALLERY.read_text())["services"]
    assert list(own) == ["askew"]
    assert own["askew"]["environment"] == {"DEMO": "0", "FIRST_KEY": "1"}
    assert own["askew"]["build"] == {"target": "server"}
    assert own["askew"]["image"] != services["askew"]["image"]


def test_the_schema_would_notice_a_mistake(tmp_path: Path) -> None:
    wrong = tmp_path / "docker-compose.yml"
    wrong.write_text(COMPOSE.read_text().replace("read_only:", "readonly:"))
    assert check_schema(wrong).returncode == 1


def test_up_starts_the_server_and_the_proxy_and_every_other_service_is_in_a_profile(
    services: dict[str, dict[str, Any]],
) -> None:
    without = [name for name, each in services.items() if "profiles" not in each]
    assert without == ["askew", "certificates", "proxy"]
    profiles = {profile for each in services.values() for profile in each.get("profiles", [])}
    assert profiles == {"gpu", "milvus", "observability", "training"}


def test_nothing_is_reachable_from_other_machines_unless_their_address_is_named(
    services: dict[str, dict[str, Any]],
) -> None:
    published = {name: each["ports"] for name, each in services.items() if "ports" in each}
    assert published.pop("proxy") == ["${PHONE_HOST:-127.0.0.1}:8443:8443"]
    assert sorted(published) == ["askew", "askew-gpu", "grafana"]
    assert all(port.startswith("127.0.0.1:") for ports in published.values() for port in ports)


def test_no_container_has_more_rights_than_it_needs(services: dict[str, dict[str, Any]]) -> None:
    for name, each in services.items():
        assert each["cap_drop"] == ["ALL"], name
        assert each["security_opt"] == ["no-new-privileges:true"], name
        assert each["read_only"] is (name != "milvus"), name
        assert "privileged" not in each
        assert each.get("cap_add", []) == (["NET_BIND_SERVICE"] if name == "proxy" else []), name


def test_the_data_is_in_a_volume_and_the_servers_restart(services: dict[str, dict[str, Any]]) -> None:
    for name in SERVERS:
        assert services[name]["volumes"] == ["askew-data:/data"]
        assert services[name]["restart"] == "unless-stopped"


def test_what_runs_for_long_has_a_health_check(services: dict[str, dict[str, Any]]) -> None:
    lasting = {name for name, each in services.items() if each.get("restart") == "unless-stopped"}
    assert {name for name in lasting if "test" not in services[name].get("healthcheck", {})} == set()
    assert {*SERVERS, "proxy", "milvus", "prometheus", "grafana"} == lasting


def test_foreign_images_have_a_version(services: dict[str, dict[str, Any]]) -> None:
    foreign = {name: each["image"] for name, each in services.items() if "build" not in each}
    assert sorted(foreign) == ["grafana", "milvus", "prometheus", "proxy"]
    for image in foreign.values():
        assert re.fullmatch(r"[a-z/]+:v?\d+\.\d+\.\d+", image), "a version, not `latest`"


def test_files_of_the_checkout_are_mounted_read_only_and_exist(services: dict[str, dict[str, Any]]) -> None:
    mounted = [volume for each in services.values() for volume in each.get("volumes", []) if volume.startswith("./")]
    assert len(mounted) >= 6
    assert [volume for volume in mounted if not volume.endswith(":ro")] == []
    assert [volume for volume in mounted if not (ROOT / volume.split(":")[0]).is_file()] == []


def test_what_is_built_has_a_dockerfile_with_its_target_and_its_arguments(services: dict[str, dict[str, Any]]) -> None:
    for name, each in services.items():
        build = each.get("build")
        if build is None:
            continue
        dockerfile = (ROOT / build["context"] / build["dockerfile"]).read_text()
        if "target" in build:
            assert re.search(rf"^FROM \S+ AS {build['target']}$", dockerfile, re.MULTILINE), name
        assert [argument for argument in build.get("args", {}) if f"ARG {argument}=" not in dockerfile] == []


def test_the_proxy_and_prometheus_find_whichever_server_runs(services: dict[str, dict[str, Any]]) -> None:
    for name in SERVERS:
        assert services[name]["networks"]["default"]["aliases"] == ["server"]
    document = yaml.safe_load((ROOT / "deploy/prometheus.yml").read_text())
    assert document["scrape_configs"][0]["static_configs"][0]["targets"] == ["server:8000"]
    assert document["rule_files"] == ["/etc/prometheus/alerts.yml"]
    assert "server:8000" in (ROOT / "deploy/Caddyfile").read_text()


def test_grafana_reports_and_fetches_nothing(services: dict[str, dict[str, Any]]) -> None:
    """By default it sends its use, asks for updates, news, keys and pictures, and installs plugins, from its maker and others."""
    wanted = {
        "GF_ANALYTICS_REPORTING_ENABLED": "false",
        "GF_ANALYTICS_CHECK_FOR_UPDATES": "false",
        "GF_ANALYTICS_CHECK_FOR_PLUGIN_UPDATES": "false",
        "GF_NEWS_NEWS_FEED_ENABLED": "false",
        "GF_PLUGINS_PREINSTALL_DISABLED": "true",
        "GF_PLUGINS_PUBLIC_KEY_RETRIEVAL_DISABLED": "true",
        "GF_SECURITY_DISABLE_GRAVATAR": "true",
        "GF_SNAPSHOTS_EXTERNAL_ENABLED": "false",
    }
    environment = services["grafana"]["environment"]
    assert {name: environment.get(name) for name in wanted} == wanted


def test_grafana_finds_its_source_under_the_name_that_the_dashboard_uses() -> None:
    source = yaml.safe_load((ROOT / "deploy/grafana/datasource.yml").read_text())["datasources"][0]
    dashboard = json.loads((ROOT / "deploy/grafana/askew.json").read_text())
    used = {target["datasource"]["uid"] for panel in dashboard["panels"] for target in panel["targets"]}
    assert used == {source["uid"]}
