"""The documents name everything there is: a setting, path, problem or command without a word about it fails here."""

from __future__ import annotations

import re
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from askew_client.contract.problems import ProblemKind
from askew_server.app import create_app
from askew_server.edge import Edge
from askew_server.galleries import Galleries
from askew_server.settings import Settings

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.fixture(scope="module")
def text() -> str:
    return "\n".join(path.read_text() for path in DOCUMENTS)


def test_every_setting_is_documented(text: str) -> None:
    assert [name for name in Settings.model_fields if f"`ASKEW_{name.upper()}`" not in text] == []


def test_every_problem_is_documented_with_its_status(text: str) -> None:
    assert [kind.slug for kind in ProblemKind if f"`{kind.slug}`" not in text] == []


def test_every_path_is_documented(text: str, tmp_path: Path) -> None:
    galleries = Galleries(tmp_path, owner="a test")
    app = create_app(Settings(data=tmp_path), galleries)
    galleries.close()
    assert isinstance(app, Edge)
    document = app._app.openapi()  # type: ignore[attr-defined]
    calls = [f"{method.upper()} {path}" for path, methods in document["paths"].items() for method in methods]
    assert len(calls) > 20
    assert [call for call in calls if f"`{call}`" not in text] == []


def test_every_command_is_documented(text: str) -> None:
    commands = [point.name for point in entry_points(group="askew.commands")]
    assert {"serve", "index", "admit", "search", "encode", "inspect", "check"} <= set(commands)
    assert [name for name in commands if f"askew {name}" not in text] == []


def test_links_between_documents_lead_somewhere() -> None:
    broken = []
    for path in DOCUMENTS:
        for target in re.findall(r"\]\(([^)#\s]+)", path.read_text()):
            if not target.startswith("http") and not (path.parent / target).exists():
                broken.append(f"{path.name}: {target}")  # noqa: PERF401
    assert broken == []


def test_the_product_names_no_place_of_its_makers() -> None:
    suffixes = {".py", ".md", ".toml", ".js", ".html", ".css", ".yml", ".sh", ".txt", ".csv", ".cfg"}
    product = [ROOT / name for name in ("client", "server", "training", "demo", "deploy", "docs", "README.md")]
    files = [
        path for top in product for path in ([top] if top.is_file() else top.rglob("*")) if path.suffix in suffixes
    ]
    pattern = re.compile(r"/work/|/root/|\.\./shared")
    assert [str(path) for path in files if "recipes" not in path.parts and pattern.search(path.read_text())] == []
