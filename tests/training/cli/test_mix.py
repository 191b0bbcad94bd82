"""`askew mix`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from askew_training.cli.import_checkpoint import import_checkpoint
from askew_training.cli.mix import mix
from askew_training.cli.whiten import whiten
from askew_training.data.licences import PhotoSource
from askew_training.errors import WeightsError
from askew_training.export.encoder_file import write_encoder
from askew_training.networks.checkpoint import Description, load_checkpoint, save_checkpoint
from tests.support.training_helpers import CARD, checkpoint_of, run_command, tiny_network, words


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


def test_a_network_whose_normalisation_is_folded_has_no_average_with_one_whose_is_not(tmp_path: Path) -> None:
    """The same student, once as it was trained and once as its encoder file stores it: their weights are no counterparts."""
    space = "sp1-" + "ab" * 16
    student = checkpoint_of(tiny_network(dim=4), teacher_space=space)
    save_checkpoint(tmp_path / "student.pt", student)
    write_encoder(student, replace(CARD, role="student"), tmp_path / "student.onnx", simplified=False)
    run_command(import_checkpoint, tmp_path / "student.onnx", tmp_path / "read.pt")
    for ends in (("student.pt", "read.pt"), ("read.pt", "student.pt")):
        with pytest.raises(WeightsError, match=r"folded into its convolutions.*askew import-checkpoint"):
            run_command(mix, tmp_path / ends[0], tmp_path / "mixed.pt", "--start", tmp_path / ends[1])
    torch.save(student.network.branches[0].trunk.features.state_dict(), tmp_path / "weights.pth")
    with pytest.raises(WeightsError, match="folded into its convolutions"):
        run_command(mix, tmp_path / "read.pt", tmp_path / "mixed.pt", "--weights", tmp_path / "weights.pth")
    assert not (tmp_path / "mixed.pt").exists()
    # Read back from files, both of them, they have an average.
    run_command(mix, tmp_path / "read.pt", tmp_path / "mixed.pt", "--start", tmp_path / "read.pt")
    before, after = (load_checkpoint(tmp_path / name).network.state_dict() for name in ("read.pt", "mixed.pt"))
    for name, tensor in after.items():
        torch.testing.assert_close(tensor, before[name])


def test_networks_whose_input_is_normalised_otherwise_have_no_average(tmp_path: Path) -> None:
    """The mean of two normalisations is that of neither, and weights fit only the input that they were trained on."""
    tuned = tiny_network(dim=4)
    torch.save(tuned.branches[0].trunk.features.state_dict(), tmp_path / "weights.pth")
    for name, shift in (("tuned", 30.0), ("near", 30.5), ("start", 0.0)):
        network = tiny_network(dim=4)
        network.branches[0].normalise.mean.add_(shift)
        save_checkpoint(tmp_path / f"{name}.pt", checkpoint_of(network))
    for start in (("--start", tmp_path / "start.pt"), ("--weights", tmp_path / "weights.pth")):
        with pytest.raises(WeightsError, match=r"mean 157\.5.*got one of mean 127\.5"):
            run_command(mix, tmp_path / "tuned.pt", tmp_path / "mixed.pt", *start)
    assert not (tmp_path / "mixed.pt").exists()
    # Two ways to write the same one, such as 127 and 127.5, are no reason to refuse.
    assert (
        run_command(mix, tmp_path / "tuned.pt", tmp_path / "mixed.pt", "--start", tmp_path / "near.pt").exit_code == 0
    )


def test_a_mixture_names_no_space_that_it_was_not_derived_from(project: Path, tmp_path: Path) -> None:
    """Without its linear layer it is no other whitening of anything."""
    tuned = checkpoint_of(tiny_network(dim=4))
    derived = tuned.description.model_copy(update={"derived_from": "sp1-" + "cd" * 16})
    save_checkpoint(tmp_path / "tuned.pt", replace(tuned, description=derived))
    save_checkpoint(tmp_path / "start.pt", tuned)
    for start in (("--weights", project / "weights.pth"), ("--start", tmp_path / "start.pt")):
        run_command(mix, tmp_path / "tuned.pt", tmp_path / "mixed.pt", *start)
        assert load_checkpoint(tmp_path / "mixed.pt").description.derived_from is None


def test_a_mixture_states_both_licences_of_a_set(tmp_path: Path) -> None:
    """Of two sets of one name, the one with fewer photos may have the stricter licence."""
    for name, count, licence in (("tuned", 5, "CC BY-NC 4.0"), ("start", 900, "CC0")):
        checkpoint = checkpoint_of(tiny_network(dim=4))
        data = (PhotoSource(name="street", photos=count, licence=licence),)
        description = checkpoint.description.model_copy(update={"data": data})
        save_checkpoint(tmp_path / f"{name}.pt", replace(checkpoint, description=description))
    run_command(mix, tmp_path / "tuned.pt", tmp_path / "mixed.pt", "--start", tmp_path / "start.pt")
    stated = load_checkpoint(tmp_path / "mixed.pt").description.data
    assert {(each.licence, each.photos) for each in stated} == {("CC BY-NC 4.0", 5), ("CC0", 900)}


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
