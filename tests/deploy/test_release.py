"""`make release`: one version, licences that are allowed, and the same bytes for the same commit."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

from tests.support.paths import ROOT

PACKAGES = ("client", "server", "training")


def loaded(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / f"release/{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


licences = loaded("licences")


def test_the_packages_have_one_version_which_they_ask_of_each_other_and_the_changelog_names() -> None:
    projects = {each: tomllib.loads((ROOT / each / "pyproject.toml").read_text())["project"] for each in PACKAGES}
    (version,) = {project["version"] for project in projects.values()}
    for project in projects.values():
        optional = project.get("optional-dependencies", {}).values()
        wanted = [*project["dependencies"], *(each for extra in optional for each in extra)]
        ours = [each for each in wanted if each.startswith("askew")]
        assert all(each.endswith(f"=={version}") for each in ours), ours
    assert f"## [{version}]" in (ROOT / "CHANGELOG.md").read_text()


@pytest.mark.parametrize(
    ("licence", "is_allowed"),
    [
        ("MIT", True), ("Apache-2.0", True), ("GNU Lesser General Public License v2 (LGPLv2)", True), ("LGPL-3.0-only", True),
        ("MIT OR GPL-2.0-only", True), ("GPL-3.0-or-later", False), ("GNU Affero General Public License v3", False),
        ("GNU General Public License v2 (GPLv2)", False), ("AGPL-3.0", False), ("UNKNOWN", False), ("", False),
    ],
)  # fmt: skip
def test_a_licence_that_does_not_allow_any_use_stops_the_release(licence: str, is_allowed: bool) -> None:
    found = [licences.Licence("fine", "1", "BSD"), licences.Licence("judged", "2", licence)]
    if is_allowed:
        licences.check_licences(found)
        return
    with pytest.raises(SystemExit, match="judged 2"):
        licences.check_licences(found)


def test_an_environment_without_packages_is_not_taken_for_a_clean_one() -> None:
    with pytest.raises(SystemExit, match="got none"):
        licences.check_licences([])


@pytest.mark.drill
@pytest.mark.timeout(1200)
def test_two_releases_of_one_commit_are_equal_to_the_byte(tmp_path: Path) -> None:
    subprocess.run(["make", "release"], cwd=ROOT, check=True, timeout=900)
    made = []
    for name in ("first", "second"):
        command = [
            ".venv-release/bin/python", "release/build_release.py", "--environment", ".venv-release/image", "--out",
            str(tmp_path / name),
        ]  # fmt: skip
        subprocess.run(command, cwd=ROOT, check=True, timeout=300)
        made.append({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()})
    assert made[0] == made[1]
    subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=tmp_path / "first", check=True)
    names = sorted(made[0])
    assert [sum(name.startswith(f"askew_{each}-") for name in names) for each in PACKAGES] == [1, 1, 1]
    document = json.loads(next(content for name, content in made[0].items() if name.endswith(".cdx.json")))
    assert {"fastapi", "faiss-cpu", "onnxruntime"} <= {each["name"] for each in document["components"]}
    assert str(ROOT) not in json.dumps(document)
    assert made[0]["licences.md"] == (ROOT / "docs/licences.md").read_bytes()
