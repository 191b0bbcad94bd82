"""A student in its teacher's space: the teacher's linear layer on top of what the student pools."""

from __future__ import annotations

import copy
from dataclasses import replace

from askew_training.data.licences import merged_sources
from askew_training.errors import WeightsError
from askew_training.networks.checkpoint import Checkpoint, space_of
from askew_training.networks.network import Network


def in_space_of(student: Checkpoint, teacher: Checkpoint, name: str) -> Checkpoint:
    """Give a student its teacher's linear layer, if the teacher has one, and its teacher's space.

    `student`: a network whose pooled vectors were trained to equal those that the teacher pools. Its own exponent and
    scales stay; vectors of several scales are averaged where the teacher averages them. `name`: the teacher's, for the
    recipe and the messages. That the student lands in the space is not checked here; the admission to a gallery does.

    Raises WeightsError if the teacher is itself a student, or if the student has a linear layer, another number of
    channels than the teacher, or the space of another teacher.
    """
    if teacher.description.teacher_space is not None:
        raise WeightsError(
            f"{name} is a student of another network and defines no space. Name that network's checkpoint."
        )
    layer = teacher.network.linear
    if student.network.linear is not None:
        raise WeightsError(
            f"The student has a linear layer of its own, and the layer of {name} fits only what a network pools. Start from the "
            "student's checkpoint without one."
        )
    if student.network.channels != teacher.network.channels:
        raise WeightsError(
            f"The student pools {student.network.channels} channels, and {name} pools {teacher.network.channels}. Expected equal "
            "numbers: name the teacher that this student was trained for."
        )
    bare = space_of(Network(teacher.network.branches, None))
    if student.description.teacher_space not in (None, bare):
        raise WeightsError(
            f"The student was trained for the space {student.description.teacher_space}, but {name} pools vectors of the space "
            f"{bare}. Name the teacher that it was trained for, or its checkpoint with a whitening."
        )
    network = Network(
        student.network.branches,
        copy.deepcopy(layer),
        student.network.scales,
        replace(
            student.network.scale_mean,
            behind_linear=layer is not None and teacher.network.scale_mean.behind_linear,
        ),
    ).eval()
    description = student.description.model_copy(
        update={
            "dim": None if layer is None else network.dim,
            "scale_mean": network.scale_mean,
            "recipe": student.description.recipe
            if layer is None
            else f"{student.description.recipe}; whitening of {name}",
            "teacher_space": teacher.space_id,
            "derived_from": None,
            # The layer has learned from its teacher's photos.
            "data": student.description.data
            if layer is None
            else merged_sources(student.description.data, teacher.description.data),
        }
    )
    return replace(student, network=network, description=description)
