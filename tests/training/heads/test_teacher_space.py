"""A student in its teacher's space, and scales averaged with another network's exponent."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from askew_training.data.licences import PhotoSource
from askew_training.errors import WeightsError
from askew_training.heads.scale_exponent import with_scale_exponent
from askew_training.heads.teacher_space import in_space_of
from askew_training.networks.checkpoint import Checkpoint, space_of
from askew_training.networks.network import THREE_SCALES, Branch, Network, ScaleMean, unit_length
from askew_training.networks.trunks import Trunk
from tests.support.tiny_trunk import TINY_CHANNELS, TINY_TRUNK
from tests.support.training_helpers import SPACE, checkpoint_of, picture, tiny_network


@pytest.fixture(scope="module")
def teacher() -> Checkpoint:
    return checkpoint_of(tiny_network(dim=16, scales=THREE_SCALES))


@pytest.fixture
def student() -> Network:
    return Network([Branch(Trunk(TINY_TRUNK), TINY_CHANNELS)]).eval()


def test_a_student_gets_its_teachers_layer_and_space(teacher: Checkpoint, student: Network) -> None:
    given = in_space_of(checkpoint_of(student), teacher, "teacher.pt")
    assert given.space_id == given.description.teacher_space == teacher.space_id
    assert given.description.derived_from is None
    assert given.network.scales == (1.0,)
    pixels = torch.from_numpy(picture(90, 70))[None]
    assert teacher.network.linear is not None
    with torch.inference_mode():
        expected = unit_length(teacher.network.linear(student(pixels)))
        torch.testing.assert_close(given.network(pixels), expected)
    # A copy: training the student leaves its teacher as it is.
    assert given.network.linear is not teacher.network.linear


def test_without_a_layer_the_student_gets_the_space_alone(student: Network) -> None:
    teacher = checkpoint_of(tiny_network(dim=None))
    given = in_space_of(checkpoint_of(student), teacher, "teacher.pt")
    assert (given.network.linear, given.space_id) == (None, teacher.space_id)
    whitened = checkpoint_of(Network(teacher.network.branches, nn.Linear(TINY_CHANNELS, 8)))
    assert in_space_of(given, whitened, "whitened.pt").space_id == whitened.space_id
    # Its scales are averaged where the teacher averages them.
    whitened.network.scale_mean = ScaleMean(behind_linear=True)
    assert in_space_of(given, whitened, "whitened.pt").description.scale_mean.behind_linear


def test_a_student_keeps_its_exponent_and_names_the_photos_that_its_layer_was_learned_from(
    teacher: Checkpoint, student: Network
) -> None:
    student.scale_mean = ScaleMean(exponent=7.0)
    made = checkpoint_of(student)
    owned = (PhotoSource(name="alleys", licence="CC BY-NC 4.0", photos=9),)
    whose = replace(teacher, description=teacher.description.model_copy(update={"data": owned}))
    given = in_space_of(made, whose, "teacher.pt").description
    assert given.scale_mean == ScaleMean(exponent=7.0)
    assert set(given.data) == {*made.description.data, *owned}


def test_a_student_that_cannot_land_there_is_refused(teacher: Checkpoint, student: Network) -> None:
    whitened = checkpoint_of(Network(student.branches, nn.Linear(TINY_CHANNELS, 16)))
    narrow = checkpoint_of(Network([Branch(Trunk(TINY_TRUNK), 24)]))
    of_another = checkpoint_of(student, teacher_space=SPACE)
    itself_a_student = checkpoint_of(tiny_network(), teacher_space=SPACE)
    for wrong, whose, message in (
        (whitened, teacher, "has a linear layer of its own.*checkpoint without one"),
        (narrow, teacher, "pools 24 channels, and t.pt pools 48"),
        (of_another, teacher, f"trained for the space {SPACE}, but t.pt pools vectors of the space sp1-"),
        (checkpoint_of(student), itself_a_student, "t.pt is a student of another network"),
    ):
        with pytest.raises(WeightsError, match=message):
            in_space_of(wrong, whose, "t.pt")


def test_scales_are_averaged_with_the_exponent_of_another_network(teacher: Checkpoint, student: Network) -> None:
    pool = student.branches[0].pool
    with torch.no_grad():
        pool.p.fill_(1.5)  # type: ignore[operator]
    changed = with_scale_exponent(teacher, checkpoint_of(student), "student.pt")
    assert changed.space_id == teacher.space_id == space_of(changed.network)
    assert "exponent 1.5 of student.pt" in changed.description.recipe
    pixels = torch.from_numpy(picture(90, 131))[None]
    branch = teacher.network.branches[0]
    with torch.inference_mode():
        singles = torch.stack([branch(pixels, (scale,)) for scale in (1.0,)])
        assert torch.allclose(singles[0], branch(pixels, (1.0,), 1.5))
        own, other = teacher.network.pooled(pixels), changed.network.pooled(pixels)
        photos = branch.normalise(pixels)
        resized = [nn.functional.interpolate(photos, scale_factor=s, mode="bilinear") for s in THREE_SCALES[1:]]
        each = torch.stack([unit_length(branch.pool(branch.trunk(photo))) for photo in [photos, *resized]])
        torch.testing.assert_close(other, unit_length((each**1.5).mean(0) ** (1 / 1.5)))
    assert not torch.allclose(own, other, atol=1e-5)


def test_an_exponent_that_nothing_would_use_is_refused(teacher: Checkpoint) -> None:
    behind = checkpoint_of(
        Network(teacher.network.branches, teacher.network.linear, (1.0,), ScaleMean(behind_linear=True))
    )
    other = checkpoint_of(Network([Branch(Trunk(TINY_TRUNK), pooling="mac")]))
    with pytest.raises(WeightsError, match="without an exponent"):
        with_scale_exponent(behind, teacher, "t.pt")
    with pytest.raises(WeightsError, match=r"m\.pt has no single exponent"):
        with_scale_exponent(teacher, other, "m.pt")
    with pytest.raises(WeightsError, match="positive exponent"):
        Network(teacher.network.branches, scale_mean=ScaleMean(exponent=0.0))
