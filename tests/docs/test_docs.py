"""The documents are complete: every setting, path, problem and command is documented, and every link works."""

from __future__ import annotations

import difflib
import json
import re
from importlib.metadata import entry_points
from pathlib import Path
from typing import get_args

import pytest
from pydantic import BaseModel

from askew_client.contract.problems import ProblemKind
from askew_server.gallery.catalog import Catalog
from askew_server.http.app import create_fastapi
from askew_server.http.state import AppState
from askew_server.settings import Settings, describe_settings
from tests.docs import settings_table
from tests.docs.command_reference import command_reference
from tests.support.paths import ROOT

DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.fixture(scope="module")
def text() -> str:
    return "\n".join(path.read_text() for path in DOCUMENTS)


def test_the_table_of_settings_is_up_to_date() -> None:
    committed = settings_table.PAGE.read_text()
    assert_same(committed, settings_table.with_settings_table(committed), "docs/server.md", "make settings")
    table = committed.partition(settings_table.BEGIN)[2].partition(settings_table.END)[0]
    assert [name for name in Settings.model_fields if f"`ASKEW_{name.upper()}`" not in table] == []


def test_every_setting_describes_itself_in_one_sentence() -> None:
    texts = {name: each.text for name, each in describe_settings().items()}
    assert [name for name, text in texts.items() if not re.fullmatch(r"[A-Z][^|\n]+\.", text)] == []
    measures = [name for name in texts if name.endswith(("_bytes", "_seconds", "_pixels"))]
    assert [name for name in measures if f"in {name.rpartition('_')[2]}" not in texts[name]] == [], "no unit"


def test_every_problem_is_documented_with_its_status(text: str) -> None:
    assert [kind.slug for kind in ProblemKind if f"`{kind.slug}`" not in text] == []


@pytest.mark.slow
def test_every_path_is_documented(text: str, tmp_path: Path) -> None:
    galleries = Catalog(tmp_path, owner="a test")
    document = json.loads(create_fastapi(AppState(Settings(data=tmp_path), galleries)).state.openapi_document().content)
    galleries.close()
    calls = [f"{method.upper()} {path}" for path, methods in document["paths"].items() for method in methods]
    assert len(calls) > 20
    assert [call for call in calls if f"`{call}`" not in text] == []


def test_every_command_is_documented(text: str) -> None:
    commands = [point.name for point in entry_points(group="askew.commands")]
    assert {"serve", "index", "admit", "search", "encode", "inspect", "check"} <= set(commands)
    assert [name for name in commands if f"askew {name}" not in text] == []


def test_the_page_of_commands_is_up_to_date() -> None:
    now = command_reference()
    assert_same((ROOT / "docs/commands.md").read_text(), now, "docs/commands.md", "make commands")
    assert "## `askew serve`" in now


def assert_same(committed: str, now: str, page: str, remedy: str) -> None:
    before, after = (text.splitlines(keepends=True) for text in (committed, now))
    shown = "".join(list(difflib.unified_diff(before, after, page, "now", n=3))[:200])
    assert not shown, f"Run `{remedy}`.\n{shown}"


def test_links_between_documents_work() -> None:
    broken = []
    for path in DOCUMENTS:
        for target in re.findall(r"\]\(([^)#\s]+)", path.read_text()):
            if not target.startswith("http") and not (path.parent / target).exists():
                broken.append(f"{path.name}: {target}")  # noqa: PERF401
    assert broken == []


def test_the_product_names_no_path_of_the_machine_it_was_made_on() -> None:
    suffixes = {".py", ".md", ".toml", ".js", ".html", ".css", ".yml", ".sh", ".txt", ".csv", ".cfg"}
    product = [ROOT / name for name in ("client", "server", "training", "demo", "deploy", "docs", "README.md")]
    files = [
        path for top in product for path in ([top] if top.is_file() else top.rglob("*")) if path.suffix in suffixes
    ]
    pattern = re.compile(r"/work/|/root/|\.\./shared")
    assert [str(path) for path in files if "recipes" not in path.parts and pattern.search(path.read_text())] == []


def test_every_loss_and_every_key_of_a_recipe_is_documented() -> None:
    from askew_training.losses.registry import AnyLossTable
    from askew_training.train.recipe import Recipe

    training = (ROOT / "docs" / "training.md").read_text()
    tables = [field.annotation for field in Recipe.model_fields.values()]
    keys = [key for table in tables for each in _models(table) for key in each.model_fields]
    keys += [key for each in _models(AnyLossTable) for key in each.model_fields]
    assert len(keys) > 50
    assert sorted({key for key in keys if f"`{key}`" not in training}) == []
    names = [get_args(each.model_fields["name"].annotation)[0] for each in _models(AnyLossTable)]
    assert len(names) == 12
    assert [name for name in names if f"`{name}`" not in training] == []


def _models(annotation: object) -> list[type[BaseModel]]:
    """The tables that an annotation names, in unions and sequences too."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models(part)]
