"""docs/architecture.md and CONTRIBUTING.md name files and folders that exist, and every folder of the packages."""

from __future__ import annotations

import re
import tomllib

import pytest

from tests.support.paths import ROOT

MAP = (ROOT / "docs" / "architecture.md").read_text()
GUIDE = (ROOT / "CONTRIBUTING.md").read_text()
PACKAGES = ("client/askew_client", "server/askew_server", "training/askew_training")
PLACEHOLDERS = ("NAME", "MODULE")


def tree() -> dict[str, list[str]]:
    """The entries of the tree in the map, by package."""
    found: dict[str, list[str]] = {}
    block = MAP[MAP.index("```\nserver/") : MAP.index("```\n\nDirect imports")]
    for line in block.splitlines()[1:]:
        if line.endswith("/") and not line.startswith(" "):
            package = found.setdefault(line.rstrip("/"), [])
        elif line.startswith("  "):
            package += re.findall(r"^  ((?:[\w.]+/? )+)", line)[0].split()
    return found


@pytest.mark.parametrize("package", PACKAGES)
def test_the_map_has_every_folder_and_nothing_that_is_gone(package: str) -> None:
    entries = {each.rstrip("/") for each in tree()[package]}
    for entry in entries:
        assert (ROOT / package / entry).exists(), entry
    folders = {
        path.name
        for path in (ROOT / package).iterdir()
        if path.is_dir() and any(path.glob("*.py")) and path.name != "__pycache__"
    }
    faces = {"cache"}
    assert folders - faces <= entries


@pytest.mark.parametrize("package", PACKAGES)
def test_the_map_is_in_the_order_that_the_linter_holds(package: str) -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    container = package.partition("/")[2]
    layers = next(each["layers"] for each in contracts if each.get("containers") == [container])
    rank = {name.strip(): place for place, layer in enumerate(layers) for name in layer.split("|")}
    places = [rank[entry.rstrip("/").removesuffix(".py")] for entry in tree()[package]]
    assert places == sorted(places)


@pytest.mark.parametrize("text", [MAP, GUIDE], ids=["architecture.md", "CONTRIBUTING.md"])
def test_every_path_that_is_named_exists(text: str) -> None:
    named = set(re.findall(r"`((?:client|server|training|tests|docs|demo)/[\w./-]+)`", text))
    assert len(named) > 1
    missing = [path for path in named if not any(p in path for p in PLACEHOLDERS) and not (ROOT / path).exists()]
    assert missing == []


def test_the_modules_on_the_paths_through_the_code_exist() -> None:
    paths = MAP[MAP.index("## Five paths") : MAP.index("## Design decisions")]
    named = set(
        re.findall(r"`((?:http|gallery|storage|index|encoders|encoding|train|data|ingest|replication)/[\w/]+)`", paths)
    )
    assert len(named) > 12
    places = [ROOT / package for package in PACKAGES]
    missing = [each for each in named if not any((place / f"{each}.py").exists() for place in places)]
    assert missing == []
