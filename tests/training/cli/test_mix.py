"""`askew mix`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from askew_training.cli.mix import mix
from askew_training.cli.whiten import whiten
from askew_training.data.licences import PhotoSource
from askew_training.errors import WeightsError
from askew_training.networks.checkpoint import Description, load_checkpoint, save_checkpoint
from tests.support.training_helpers import checkpoint_of, run_command, tiny_network, words


@pytest.mark.slow
def test_a_tuned_network_is_mixed_with_its_start_and_put_combined_another(
    project: Path, photos: tuple[object, ...], tmp_path: Path
) -> None:
    tuned, weights = tmp_path / "tuned.pt", ("--weights", project / "weights.pth")
    save_checkpoint(tuned, checkpoint_of(tiny_network(dim=4)))
    ends = load_checkpoint(tuned)
    start = torch.load(project / "weights.pth", weights_only=True)
    for share in (0.0, 0.3, 1.0):
        run_command(mix, tuned, tmp_path / "mixed.pt", *weights, "--share", share)
        mixed = load_checkpoint(tmp_path / "mixed.pt")
        assert mixed.network.linear is None and mixed.description.data == ends.description.data
        assert mixed.description.recipe.endswith(f"askew mix --share {share:g}")
        for name, tensor in mixed.network.branches[0].trunk.features.state_dict().items():
            if tensor.is_floating_point():
                end = ends.network.branches[0].trunk.features.state_dict()[name]
                torch.testing.assert_close(tensor, share * end + (1 - share) * start[name])
    starts = ("--start", tmp_path / "mixed.pt", "--start", tuned)
    options = ("--photo-size", 128, "--dim", 4, "--scales", "1,0.5")
    run_command(whiten, tmp_path / "combined.pt", *starts, *photos, *options)
    combined = load_checkpoint(tmp_path / "combined.pt")
    assert (len(combined.network.branches), combined.network.dim) == (2, 4)
    assert (combined.description.scales, combined.description.derived_from) == ((1.0, 0.5), None)
    assert combined.description.recipe.startswith("(")
    assert {source.name for source in combined.description.data} == {"none", "north"}
    with pytest.raises(WeightsError, match=r"each of 2 trunk\(s\), got 1"):
        run_command(mix, tmp_path / "combined.pt", tmp_path / "x.pt", *weights)


def test_a_student_is_mixed_with_the_checkpoint_that_it_started_from_and_stays_in_its_space(tmp_path: Path) -> None:
    space = "sp1-" + "ab" * 16
    start, tuned = tiny_network(dim=4), tiny_network(dim=4)
    with torch.no_grad():
        for parameter in tuned.parameters():
            parameter.add_(0.25)
    save_checkpoint(tmp_path / "start.pt", checkpoint_of(start, teacher_space=space))
    save_checkpoint(tmp_path / "tuned.pt", checkpoint_of(tuned, teacher_space=space))

    run_command(mix, tmp_path / "tuned.pt", tmp_path / "mixed.pt", "--start", tmp_path / "start.pt", "--share", 0.3)

    mixed = load_checkpoint(tmp_path / "mixed.pt")
    assert mixed.space_id == space and mixed.description.dim == 4
    assert mixed.description.recipe.endswith("; askew mix --share 0.3")
    for name, tensor in mixed.network.state_dict().items():
        if tensor.is_floating_point():
            torch.testing.assert_close(tensor, 0.3 * tuned.state_dict()[name] + 0.7 * start.state_dict()[name])


def test_a_mixture_of_two_students_names_the_photos_and_recipes_of_both(tmp_path: Path) -> None:
    """Two students of one trunk with different histories: the licences of both count."""
    space = "sp1-" + "ab" * 16
    made = {
        "one": ("whitened; trained", (PhotoSource(name="north", photos=5, licence="CC0"),), ("# one\n",)),
        "two": ("whitened; in closed form", (PhotoSource(name="south", photos=7, licence="MIT"),), ("# two\n",)),
        "similar": ("whitened; train", (PhotoSource(name="north", photos=5, licence="CC0"),), ()),
        "begin": ("whitened", (PhotoSource(name="north", photos=5, licence="CC0"),), ()),
    }
    for name, (recipe, data, texts) in made.items():
        checkpoint = checkpoint_of(tiny_network(dim=4), teacher_space=space)
        stated = {"recipe": recipe, "data": data, "recipe_texts": texts}
        save_checkpoint(
            tmp_path / f"{name}.pt",
            replace(checkpoint, description=checkpoint.description.model_copy(update=stated)),
        )

    def mixed_with(start: str) -> Description:
        run_command(mix, tmp_path / "one.pt", tmp_path / "mixed.pt", "--start", tmp_path / f"{start}.pt")
        return load_checkpoint(tmp_path / "mixed.pt").description

    both = mixed_with("two")
    assert both.recipe == "whitened; trained; askew mix --share 0.5; the rest: (whitened; in closed form)"
    assert {each.name for each in both.data} == {"north", "south"} and both.recipe_texts == ("# one\n", "# two\n")
    assert mixed_with("begin").recipe == "whitened; trained; askew mix --share 0.5"
    assert mixed_with("similar").recipe.endswith("; the rest: (whitened; train)")


def test_a_start_of_another_space_or_layout_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    space = "sp1-" + "ab" * 16
    save_checkpoint(tmp_path / "tuned.pt", checkpoint_of(tiny_network(dim=4), teacher_space=space))
    save_checkpoint(tmp_path / "alone.pt", checkpoint_of(tiny_network(dim=4)))
    save_checkpoint(tmp_path / "wider.pt", checkpoint_of(tiny_network(dim=8), teacher_space=space))
    for start, sentence in (
        ("alone.pt", "got a network without a teacher"),
        ("wider.pt", "a linear layer of 8 dimensions"),
    ):
        with pytest.raises(WeightsError, match=sentence):
            run_command(mix, tmp_path / "tuned.pt", tmp_path / "mixed.pt", "--start", tmp_path / start)
    for options in ((), ("--start", tmp_path / "tuned.pt", "--weights", "timm")):
        refused = run_command(mix, tmp_path / "tuned.pt", tmp_path / "mixed.pt", *options)
        assert refused.exit_code == 2 and "--weights for each trunk, or --start" in words(refused.output)
    assert not (tmp_path / "mixed.pt").exists()
