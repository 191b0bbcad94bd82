"""`askew recipe`: the shipped recipes, listed and copied."""

from __future__ import annotations

from pathlib import Path

import pytest

from askew_training.recipes import shipped_recipes
from tests.support.command_line import call_askew


def test_the_list_names_every_recipe_with_its_subject() -> None:
    lines = call_askew("recipe", "list").stdout.splitlines()
    assert [line.split()[0] for line in lines] == list(shipped_recipes())
    assert len(lines) > 40
    assert all(len(line.split()) > 3 for line in lines)


def test_a_recipe_is_copied_with_the_licences_that_it_names(tmp_path: Path) -> None:
    done = call_askew("recipe", "copy", "small/contrastive", "small/regression.toml", tmp_path / "new")
    assert done.returncode == 0
    copies = {"contrastive.toml", "regression.toml", "licences.toml"}
    assert {path.name for path in (tmp_path / "new").iterdir()} == copies
    assert {Path(line).name for line in done.stdout.splitlines()} == copies
    assert (tmp_path / "new/contrastive.toml").read_bytes() == shipped_recipes()["small/contrastive"].read_bytes()
    # The same call again changes nothing; a file that someone edited is never replaced.
    assert call_askew("recipe", "copy", "small/contrastive", tmp_path / "new").returncode == 0
    (tmp_path / "new/contrastive.toml").write_text("mine")
    refused = call_askew("recipe", "copy", "small", tmp_path / "new")
    assert refused.returncode == 1
    assert f"{tmp_path / 'new/contrastive.toml'} is there already, with other content" in refused.stderr
    assert (tmp_path / "new/contrastive.toml").read_text() == "mine"
    assert len(list((tmp_path / "new").iterdir())) == 3


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (
            ("small/no-such",),
            "There is no recipe 'small/no-such'. Expected one of those that `askew recipe list` shows",
        ),
        (("contrastive",), "There is no recipe 'contrastive'"),
        (("../../train",), "There is no recipe '../../train'"),
        (("small/contrastive", "paper/contrastive"), "Copy the sets into folders of their own"),
    ],
)
def test_other_names_are_refused_before_anything_is_written(
    names: tuple[str, ...], sentence: str, tmp_path: Path
) -> None:
    done = call_askew("recipe", "copy", *names, tmp_path / "new")
    assert done.returncode == 1
    assert sentence in done.stderr
    assert not (tmp_path / "new").exists()


def test_a_whole_set_is_copied(tmp_path: Path) -> None:
    assert call_askew("recipe", "copy", "paper", tmp_path).returncode == 0
    assert len(list(tmp_path.glob("*.toml"))) == 1 + sum(name.startswith("paper/") for name in shipped_recipes())
