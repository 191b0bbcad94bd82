"""deploy/kubernetes: valid by the API's own schema, and what makes the manifests safe stays in them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from askew_server.settings import Settings
from tests.support.paths import ROOT

FOLDER = ROOT / "deploy/kubernetes"
# Read by kubectl and by Helm, not by the API.
NO_OBJECTS = {"kustomization.yaml", "metrics-adapter-values.yaml"}
FILES = [path for path in sorted(FOLDER.rglob("*.yaml")) if path.name not in NO_OBJECTS]


Object = dict[str, Any]


def objects(*paths: Path) -> list[Object]:
    return [each for path in paths or FILES for each in yaml.safe_load_all(path.read_text())]


def of_kind(kind: str) -> list[Object]:
    return [each for each in objects() if each["kind"] == kind]


def servers() -> list[Object]:
    """Everything that makes pods."""
    return [each for each in objects() if "template" in each.get("spec", {})]


def validate(*paths: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "kubernetes_validate", "--strict", *map(str, paths)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_every_manifest_fits_the_schema_of_kubernetes() -> None:
    checked = validate(*FILES)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert (checked.stdout + checked.stderr).count("passed for resource") == len(objects())


@pytest.mark.slow
def test_the_schema_would_notice_a_mistake(tmp_path: Path) -> None:
    wrong = tmp_path / "server.yaml"
    wrong.write_text((FOLDER / "server/server.yaml").read_text().replace("readinessProbe:", "readynessProbe:"))
    assert validate(wrong).returncode != 0


def test_data_has_one_owner() -> None:
    (primary,) = of_kind("StatefulSet")
    assert primary["spec"]["replicas"] == 1
    scaled = [each["spec"]["scaleTargetRef"] for each in of_kind("HorizontalPodAutoscaler")]
    assert [each["kind"] for each in scaled] == ["Deployment"]
    assert primary["spec"]["persistentVolumeClaimRetentionPolicy"] == {"whenDeleted": "Retain", "whenScaled": "Retain"}
    for deployment in of_kind("Deployment"):
        volumes = deployment["spec"]["template"]["spec"]["volumes"]
        assert not [each for each in volumes if "persistentVolumeClaim" in each], "pods of a Deployment would share it"


def test_no_pod_has_more_rights_than_it_needs() -> None:
    assert len(servers()) == 2
    for each in servers():
        pod = each["spec"]["template"]["spec"]
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True and pod["securityContext"]["runAsUser"] == 10001
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert {mount["mountPath"] for mount in container["volumeMounts"]} >= {"/data", "/tmp"}
            assert container["resources"]["requests"] and container["resources"]["limits"]["memory"]


def test_probes_ask_paths_that_the_server_answers_without_a_key() -> None:
    paths = json.loads((ROOT / "docs/openapi.json").read_text())["paths"]
    for each in servers():
        (container,) = each["spec"]["template"]["spec"]["containers"]
        asked = {probe: container[probe]["httpGet"] for probe in ("startupProbe", "livenessProbe", "readinessProbe")}
        assert {probe: get["path"] for probe, get in asked.items()} == {
            "startupProbe": "/livez",
            "livenessProbe": "/livez",
            "readinessProbe": "/readyz",
        }
        assert all(get["path"] in paths and get["port"] == "http" for get in asked.values())


def test_the_pod_has_time_to_drain() -> None:
    for each in servers():
        pod = each["spec"]["template"]["spec"]
        drain = next(each["value"] for each in pod["containers"][0]["env"] if each["name"] == "ASKEW_DRAIN_SECONDS")
        assert pod["terminationGracePeriodSeconds"] >= int(drain) + 10 + 20


def test_variables_are_settings_of_the_server_or_of_the_entry_point() -> None:
    known = {f"ASKEW_{name.upper()}" for name in Settings.model_fields} | {"FIRST_KEY"}
    for each in servers():
        named = {variable["name"] for variable in each["spec"]["template"]["spec"]["containers"][0]["env"]}
        assert named <= known


def test_the_cluster_adds_no_variables_that_the_server_takes_for_settings() -> None:
    # For a Service `askew` it would set ASKEW_PORT=tcp://…
    assert [each for each in servers() if each["spec"]["template"]["spec"]["enableServiceLinks"] is not False] == []


def test_a_secret_that_is_missing_keeps_the_pod_from_starting() -> None:
    for each in servers():
        for volume in each["spec"]["template"]["spec"]["volumes"]:
            assert not volume.get("secret", {}).get("optional", False)
        mounted = {
            mount["mountPath"]: mount for mount in each["spec"]["template"]["spec"]["containers"][0]["volumeMounts"]
        }
        for variable in each["spec"]["template"]["spec"]["containers"][0]["env"]:
            if variable["name"].endswith("_FILE"):
                assert mounted[str(Path(variable["value"]).parent)]["readOnly"] is True


def test_policies_services_and_budgets_select_pods_that_there_are() -> None:
    labels = [each["spec"]["template"]["metadata"]["labels"] for each in servers()]
    selectors = [each["spec"]["selector"] for each in of_kind("Service")]
    selectors += [each["spec"]["podSelector"]["matchLabels"] for each in of_kind("NetworkPolicy")]
    selectors += [each["spec"]["selector"]["matchLabels"] for each in of_kind("PodDisruptionBudget")]
    assert len(selectors) == 5
    for selector in selectors:
        assert any(selector.items() <= each.items() for each in labels), selector


def test_every_pod_is_under_a_network_policy_for_both_directions() -> None:
    policies = of_kind("NetworkPolicy")
    for each in servers():
        labels = each["spec"]["template"]["metadata"]["labels"]
        over = [policy for policy in policies if policy["spec"]["podSelector"]["matchLabels"].items() <= labels.items()]
        assert {kind for policy in over for kind in policy["spec"]["policyTypes"]} == {"Ingress", "Egress"}


def test_replicas_follow_the_service_of_the_primary() -> None:
    (replica,) = of_kind("Deployment")
    env = {each["name"]: each["value"] for each in replica["spec"]["template"]["spec"]["containers"][0]["env"]}
    primary = next(
        each for each in of_kind("Service") if each["spec"]["selector"]["app.kubernetes.io/component"] == "primary"
    )
    assert env["ASKEW_FOLLOW"] == f"http://{primary['metadata']['name']}:{primary['spec']['ports'][0]['port']}"


def test_what_the_replicas_are_scaled_by_is_a_metric_that_the_adapter_makes_of_one_of_ours() -> None:
    (scaler,) = of_kind("HorizontalPodAutoscaler")
    metric = next(each["pods"]["metric"]["name"] for each in scaler["spec"]["metrics"] if each["type"] == "Pods")
    rule = yaml.safe_load((FOLDER / "metrics-adapter-values.yaml").read_text())["rules"]["custom"][0]
    assert rule["name"]["as"] == metric
    assert f"`{rule['seriesQuery'].split('{')[0]}`" in (ROOT / "docs/observability.md").read_text()


def test_kustomize_finds_its_files_and_every_file_is_used_or_explained() -> None:
    named = set()
    for path in FOLDER.rglob("kustomization.yaml"):
        found = yaml.safe_load(path.read_text())
        for resource in found["resources"]:
            assert (path.parent / resource).exists(), resource
            named.add((path.parent / resource).resolve())
    told = (ROOT / "docs/kubernetes.md").read_text()
    assert [path.name for path in FILES if path not in named and path.name not in told] == []


def test_every_kustomization_puts_the_same_image_of_this_version_into_all_its_pods() -> None:
    images = [yaml.safe_load(path.read_text())["images"] for path in FOLDER.rglob("kustomization.yaml")]
    assert len(images) == 2 and images[0] == images[1]
    ((image,), _) = images
    assert f'version = "{image["newTag"]}"' in (ROOT / "server/pyproject.toml").read_text()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("kubectl") is None, reason="!! NOT RUN: kubectl is not on the PATH")
def test_kustomize_merges_the_manifests_into_what_the_schema_allows(tmp_path: Path) -> None:
    for name, kinds in (("server", {"StatefulSet"}), ("replicas", {"StatefulSet", "Deployment"})):
        merged = subprocess.run(
            ["kubectl", "kustomize", str(FOLDER / name)], capture_output=True, text=True, check=False
        )
        assert merged.returncode == 0, merged.stderr
        found = list(yaml.safe_load_all(merged.stdout))
        pods = {each["kind"]: each["spec"]["template"]["spec"] for each in found if "template" in each.get("spec", {})}
        assert set(pods) == kinds
        assert {pod["containers"][0]["image"] for pod in pods.values()} == {"askew:0.2.0"}
        namespaces = {each["metadata"].get("namespace") for each in found if each["kind"] != "Namespace"}
        assert namespaces == {"askew"}
        (tmp_path / f"{name}.yaml").write_text(merged.stdout)
    checked = validate(tmp_path / "replicas.yaml")
    assert checked.returncode == 0, checked.stdout + checked.stderr
