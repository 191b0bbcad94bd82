"""What the documents and messages tell users to install: our own packages from the checkout, others by their names."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.support.paths import ROOT

PACKAGES = ("client", "server", "training")
TOLD = [ROOT / "README.md", *ROOT.glob("docs/*.md"), *(ROOT / each / "README.md" for each in PACKAGES)]
SOURCES = [path for each in PACKAGES for path in (ROOT / each).glob("askew_*/**/*.py")]


def told_installs() -> list[tuple[str, str]]:
    """Every requirement that a `pip install` in a document or a message names, with the file's name."""
    found = []
    for path in (*TOLD, *SOURCES):
        # A message goes over several lines of source: strings that follow each other are one.
        text = re.sub(r'"\n\s*"', "", path.read_text())
        for line in re.findall(r"pip install ([^\n`#;()]+)", text):
            words = re.split(r", |\.\s|\.\"|\.$|\"|\{", line)[0].split()
            found += [(path.name, word.strip("'")) for word in words if word not in ("them", "first")]
    return found


def declared() -> set[str]:
    """The names of all third-party packages that our packages may need."""
    names: set[str] = set()
    for each in PACKAGES:
        project = tomllib.loads((ROOT / each / "pyproject.toml").read_text())["project"]
        lists = [project["dependencies"], *project["optional-dependencies"].values()]
        names |= {re.split(r"[\[<>=;~ ]", requirement)[0] for wanted in lists for requirement in wanted}
    return {name for name in names if not name.startswith("askew")}


def test_our_own_packages_are_installed_from_the_checkout_and_others_are_declared() -> None:
    told = told_installs()
    assert len(told) >= 12
    allowed = declared()
    for page, requirement in told:
        path = re.fullmatch(r"\./(client|server|training)(\[([a-z,]+)\])?", requirement)
        assert path or requirement.partition("[")[0] in allowed, (page, requirement)
        if path and path[3]:
            project = tomllib.loads((ROOT / path[1] / "pyproject.toml").read_text())["project"]
            assert set(path[3].split(",")) <= set(project["optional-dependencies"]), (page, requirement)


def test_no_name_of_ours_is_told_where_anybody_may_take_it() -> None:
    offenders = [path.name for path in (*TOLD, *SOURCES) if re.search(r"install '?askew", path.read_text())]
    assert offenders == []


@pytest.mark.installs
@pytest.mark.timeout(600)
def test_the_documented_install_takes_our_packages_from_the_checkout(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    command = [
        sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet", "--report", report,
        "--constraint", ROOT / "requirements/constraints.txt", "./client", "./server[cpu]",
    ]  # fmt: skip
    subprocess.run([*map(str, command)], cwd=ROOT, check=True, capture_output=True, timeout=500)
    found = {
        each["metadata"]["name"]: each["download_info"]["url"] for each in json.loads(report.read_text())["install"]
    }
    ours = {name: url for name, url in found.items() if name.startswith("askew")}
    assert ours == {"askew-client": (ROOT / "client").as_uri(), "askew-server": (ROOT / "server").as_uri()}
    assert {"onnxruntime", "faiss-cpu", "typer"} <= set(found)


@pytest.mark.parametrize("package", PACKAGES)
def test_each_package_has_the_licence_and_a_page_of_its_own(package: str) -> None:
    assert (ROOT / package / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()
    assert len((ROOT / package / "README.md").read_text().splitlines()) > 5
