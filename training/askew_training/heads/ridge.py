"""Distillation in closed form: a ridge regression of a student's last layer onto its teacher's vectors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from askew_training.errors import DataError


def refit_linear(
    start: nn.Linear, pooled: NDArray[np.float32], targets: NDArray[np.float32], ridge: float
) -> nn.Linear:
    """Learn a linear layer that maps a student's pooled vectors to its teacher's vectors.

    `pooled`: float32 [n, C], what the student pools. `targets`: float32 [n, D], the teacher's unit vectors of the same
    photos. Minimises the mean of ‖W x + b − t‖² plus `ridge` times the squared change from `start`; as far as outputs
    have unit length, this is the regression loss of Budnik & Avrithis (CVPR 2021), 1 − cos. Few photos are enough,
    because the solution is pulled towards `start`, the teacher's own layer. Raises DataError for shapes that do not
    fit, vectors with NaN, and a ridge that is not positive, or too small for so few photos.
    """
    channels, dim = start.in_features, start.out_features
    if pooled.shape != (len(targets), channels) or targets.shape[1:] != (dim,):
        raise DataError(
            f"Expected [n, {channels}] pooled and [n, {dim}] target vectors of the same photos, got "
            f"{list(pooled.shape)} and {list(targets.shape)}."
        )
    if not 0 < ridge < np.inf:
        raise DataError(f"Expected a positive ridge, got {ridge}.")
    if not (np.isfinite(pooled).all() and np.isfinite(targets).all()):
        raise DataError(
            f"Expected finite vectors of the {len(pooled)} photos, but some hold NaN: the teacher's layer or the student's trunk "
            "maps a photo to nothing. Use another checkpoint."
        )
    before = np.vstack([start.weight.detach().numpy().T, start.bias.detach().numpy()[None]]).astype(np.float64)
    inputs = np.hstack([pooled, np.ones((len(pooled), 1))]).astype(np.float64)
    residuals = targets - inputs @ before
    gram = inputs.T @ inputs / len(inputs) + ridge * np.eye(channels + 1)
    try:
        after = before + np.linalg.solve(gram, inputs.T @ residuals / len(inputs))
    except np.linalg.LinAlgError:
        raise DataError(
            f"The equations of {len(inputs)} photos have no single solution with a ridge of {ridge:g}. Expected a larger ridge, "
            "or more photos."
        ) from None
    layer = nn.Linear(channels, dim)
    weight, bias = np.ascontiguousarray(after[:-1].T), after[-1]
    layer.load_state_dict({"weight": torch.from_numpy(weight), "bias": torch.from_numpy(bias)})
    return layer


def rows_of_instances(instances: Sequence[str]) -> list[list[int]]:
    """The rows of each instance with two photos or more. `instances`: of each photo, "" without a label."""
    rows_of: dict[str, list[int]] = {}
    for row, instance in enumerate(instances):
        if instance:
            rows_of.setdefault(instance, []).append(row)
    return [rows for rows in rows_of.values() if len(rows) > 1]


def towards_instances(targets: NDArray[np.float32], instances: Sequence[str], share: float) -> NDArray[np.float32]:
    """Move the teacher's unit vectors of labelled photos, float32 [n, D], towards the mean of their instance.

    `instances`: of each photo, "" without a label, which stays as it is. `share`: 0 changes nothing; 1 gives all photos of an
    instance one target, m / ‖m‖ with m the mean of their vectors. The layer that fits them best then brings a query near
    to all photos that show the same, as the positive pairs of asymmetric metric learning do (Budnik & Avrithis, CVPR 2021):
    the mean over an anchor's positives of ‖f(a) − g(p)‖² is least where f(a) is the mean of g(p). Results are no unit vectors.
    """
    if not 0 <= share <= 1:
        raise DataError(f"Expected a share from 0 to 1, got {share}.")
    moved = targets.copy()
    for rows in rows_of_instances(instances):
        mean = targets[rows].mean(0)
        length = np.linalg.norm(mean)
        if length > 0:
            moved[rows] = (1 - share) * targets[rows] + share * mean / length
    return moved
