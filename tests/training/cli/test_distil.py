"""`askew distil`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from askew_training.cli.distil import distil
from askew_training.cli.whiten import whiten
from askew_training.data.licences import PhotoSource
from askew_training.errors import CheckpointError, DataError
from askew_training.networks.checkpoint import load_checkpoint, save_checkpoint
from askew_training.networks.network import ScaleMean
from tests.support.training_helpers import MANIFEST_HEADER, checkpoint_of, run_command, tiny_network, words


@pytest.mark.slow
def test_a_distilled_student_stays_in_its_teachers_space(
    whitened: Path, photos: tuple[object, ...], tmp_path: Path
) -> None:
    result = run_command(distil, whitened, tmp_path / "student.pt", "--learn-size", 96, *photos)
    assert "8 photos" in result.stdout
    teacher, student = load_checkpoint(whitened), load_checkpoint(tmp_path / "student.pt")
    assert student.space_id == teacher.space_id
    assert student.description.scales == (1.0,)
    assert student.description.photo_size == 224
    assert student.network.linear is not None and teacher.network.linear is not None
    assert not torch.equal(student.network.linear.weight, teacher.network.linear.weight)


@pytest.mark.slow
def test_a_distilled_student_names_the_photos_of_its_teacher(
    whitened: Path, photos: tuple[object, ...], tmp_path: Path
) -> None:
    """Its trunk has learned from them: their licences count for the student, too."""
    teacher = load_checkpoint(whitened)
    others = (*teacher.description.data, PhotoSource(name="elsewhere", photos=12, licence="CC BY 4.0"))
    save_checkpoint(
        tmp_path / "teacher.pt",
        replace(teacher, description=teacher.description.model_copy(update={"data": others})),
    )
    run_command(distil, tmp_path / "teacher.pt", tmp_path / "student.pt", "--learn-size", 96, *photos)
    student = load_checkpoint(tmp_path / "student.pt").description
    assert {each.name for each in student.data} == {each.name for each in others}


@pytest.mark.slow
def test_the_teacher_may_see_small_photos_at_other_scales(
    whitened: Path, photos: tuple[object, ...], tmp_path: Path
) -> None:
    own, other = tmp_path / "own.pt", tmp_path / "other.pt"
    assert "8 photos" in run_command(distil, whitened, own, "--learn-size", 96, *photos).stdout
    enlarged = ("--learn-size", 96, "--teacher-scales", "1.4142,1", *photos)
    assert "8 photos" in run_command(distil, whitened, other, *enlarged).stdout
    learned = [load_checkpoint(each).network.linear for each in (own, other)]
    assert learned[0] is not None and learned[1] is not None
    assert not torch.equal(learned[0].weight, learned[1].weight)
    described = load_checkpoint(other).description
    assert described.scales == (1.0,) and "at scales 1.4142,1" in described.recipe
    for wrong in ("0", "nan", "1,,2", "big"):
        refused = run_command(distil, whitened, other, "--learn-size", 96, "--teacher-scales", wrong, *photos)
        assert refused.exit_code == 2, wrong


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *(("--ridge", value) for value in ("nan", "inf", "0", "-1", "1e300")),
        ("--learn-size", 10**12),
        ("--photo-size", 10**12),
    ],
)
def test_numbers_that_nothing_can_be_learned_with_are_refused(tmp_path: Path, option: str, value: object) -> None:
    save_checkpoint(tmp_path / "teacher.pt", checkpoint_of(tiny_network(dim=4)))
    more = ("--learn-size", 96, option, value, "--licences", tmp_path / "none.toml", "--photos", tmp_path)
    refused = run_command(distil, tmp_path / "teacher.pt", tmp_path / "student.pt", *more)
    assert refused.exit_code == 2 and option in words(refused.output)


@pytest.mark.slow
def test_recipes_stay_with_a_network_that_is_whitened_and_distilled(
    whitened: Path, photos: tuple[object, ...], tmp_path: Path
) -> None:
    trained = load_checkpoint(whitened)
    recipes = ("# the first\n", "# the second\n")
    description = trained.description.model_copy(update={"recipe_texts": recipes})
    start = tmp_path / "start.pt"
    save_checkpoint(start, replace(trained, description=description))
    run_command(distil, start, tmp_path / "student.pt", "--learn-size", 96, *photos)
    assert load_checkpoint(tmp_path / "student.pt").description.recipe_texts == recipes
    run_command(whiten, tmp_path / "again.pt", "--start", start, "--method", "given", "--dim", 2)
    assert load_checkpoint(tmp_path / "again.pt").description.recipe_texts == recipes
    two = ["--start", start, "--start", start, "--dim", 4, "--method", "pca", *photos]
    run_command(whiten, tmp_path / "two.pt", *two)
    assert load_checkpoint(tmp_path / "two.pt").description.recipe_texts == 2 * recipes


@pytest.fixture(scope="module")
def of_two_trunks(whitened: Path, photos: tuple[object, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A teacher of two trunks side by side, with a whitening of both."""
    teacher = tmp_path_factory.mktemp("two") / "teacher.pt"
    second = teacher.with_name("second.pt")
    save_checkpoint(second, checkpoint_of(tiny_network(dim=4)))
    run_command(whiten, teacher, "--start", whitened, "--start", second, "--dim", 4, "--method", "pca", *photos)
    return teacher


@pytest.mark.slow
@pytest.mark.parametrize("branch", [1, 2])
def test_a_student_takes_one_trunk_of_its_teacher(
    of_two_trunks: Path, photos: tuple[object, ...], tmp_path: Path, branch: int
) -> None:
    more = ("--learn-size", 96, "--branch", branch, "--positives", 0.5, *photos)
    run_command(distil, of_two_trunks, tmp_path / "student.pt", *more)
    teacher, student = load_checkpoint(of_two_trunks), load_checkpoint(tmp_path / "student.pt")
    assert student.space_id == teacher.space_id and student.network.dim == 4
    assert len(student.network.branches) == 1
    kept, taken = teacher.network.branches[branch - 1].state_dict(), student.network.branches[0].state_dict()
    assert kept.keys() == taken.keys() and all(torch.equal(kept[name], taken[name]) for name in kept)
    assert f"branch {branch} of 2" in student.description.recipe and "positives 0.5" in student.description.recipe


@pytest.mark.slow
def test_positives_without_two_photos_of_one_instance_are_refused_before_the_work(
    whitened: Path, project: Path, photos: tuple[object, ...], tmp_path: Path
) -> None:
    """They would move nothing, and the recipe would say that they did."""
    alone = tmp_path / "alone.csv"
    rows = [f"{project / f'{i}.png'},{i if i < 8 else ''},train,walls,north" for i in (0, 1, 4, 5, 8, 9)]
    alone.write_text(MANIFEST_HEADER + "\n".join(rows) + "\n")
    more = ("--learn-size", 96, "--licences", project / "licences.toml", "--cache", tmp_path / "cache")
    with pytest.raises(DataError, match="No two photos show the same, so --positives would move nothing"):
        run_command(distil, whitened, tmp_path / "s.pt", *more, "--manifest", alone, "--positives", 0.5)
    assert not (tmp_path / "s.pt").exists() and not (tmp_path / "cache").exists()
    assert "6 photos" in run_command(distil, whitened, tmp_path / "s.pt", *more, "--manifest", alone).stdout


def test_a_wrong_scale_is_refused_by_the_name_of_its_option(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "teacher.pt", checkpoint_of(tiny_network(dim=4)))
    more = ("--learn-size", 96, "--licences", tmp_path / "none.toml", "--photos", tmp_path)
    refused = run_command(distil, tmp_path / "teacher.pt", tmp_path / "s.pt", "--teacher-scales", "big", *more)
    assert refused.exit_code == 2 and "--teacher-scales" in words(refused.output)


def test_a_teacher_that_averages_behind_its_layer_may_be_seen_at_one_scale(tmp_path: Path) -> None:
    teacher = checkpoint_of(tiny_network(dim=4, scales=(1.0, 0.7)))
    behind = teacher.description.model_copy(update={"scale_mean": ScaleMean(behind_linear=True)})
    save_checkpoint(tmp_path / "teacher.pt", replace(teacher, description=behind))
    more = ("--learn-size", 96, "--licences", tmp_path / "none.toml", "--photos", tmp_path)
    with pytest.raises(CheckpointError, match="or let the teacher see one scale: --teacher-scales 1"):
        run_command(distil, tmp_path / "teacher.pt", tmp_path / "s.pt", *more)


@pytest.mark.slow
def test_a_branch_that_the_teacher_lacks_is_refused(
    of_two_trunks: Path, photos: tuple[object, ...], tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match="one of 2 branches"):
        run_command(distil, of_two_trunks, tmp_path / "s.pt", "--learn-size", 96, "--branch", 3, *photos)
    assert not (tmp_path / "s.pt").exists()
