"""docker-compose.yml: valid by the compose specification, and as closed as the docs say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "docker-compose.yml"


def check_schema(path: Path) -> subprocess.CompletedProcess[str]:
    # The specification's own JSON schema, as check-jsonschema ships it.
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def service() -> dict[str, Any]:
    document = yaml.safe_load(COMPOSE.read_text())
    assert list(document["services"]) == ["askew"]
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


def test_the_data_lies_in_a_volume_and_the_server_comes_back(service: dict[str, Any]) -> None:
    assert service["volumes"] == ["askew-data:/data"]
    assert service["restart"] == "unless-stopped"
    assert "/readyz" in " ".join(service["healthcheck"]["test"])


def test_it_builds_the_image_that_is_tested(service: dict[str, Any]) -> None:
    assert (ROOT / service["build"]["context"] / service["build"]["dockerfile"]).is_file()
