"""Contextual similarity distillation: match how similar a photo is to its neighbours, as a distribution over them."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator
from torch import Tensor

from askew_training.losses.base import Loss, LossTable, TeacherVectorsOf
from askew_training.losses.divergence import softmax_divergence


class ContextualSimilarity(Loss):
    """mean over photos of KL(softmax(t / τ_g) ‖ softmax(x / τ_q)), with neighbours from the batch.

    Wu et al., "Contextual Similarity Distillation for Asymmetric Image Retrieval" (CVPR 2022), in the form of
    SCY-X/D3still, which takes the neighbours from the batch and not, as the paper does, from the training set
    (`MemoryContextualSimilarity`). t and x are a photo's similarities, by its teacher's vector and by its student's,
    to the teacher's vectors of its `neighbours`: itself and the most similar others for its teacher; None is the whole
    batch. τ_g is `teacher_temperature`, τ_q `student_temperature`; the defaults are those of that code.

    With equal temperatures the loss is 0 where students and teachers are equal. With the defaults, neither its minimum
    nor a gradient of 0 is there: a student cannot be as sharp as that teacher, and is pulled beyond it. Departure from
    the code: similarities keep the vectors' dtype; the code computes them in float64.
    """

    reads = ("anchors", "teachers")

    def __init__(
        self, teacher_temperature: float = 0.01, student_temperature: float = 1.0, neighbours: int | None = None
    ) -> None:
        super().__init__()
        if neighbours is not None and neighbours < 2:
            raise ValueError(
                f"ContextualSimilarity expects at least 2 neighbours, got {neighbours}: the distribution over one is "
                "constant."
            )
        self.teacher_temperature = teacher_temperature
        self.student_temperature = student_temperature
        self.neighbours = neighbours
        self.smallest_batch = neighbours or 2

    def forward(self, students: Tensor, teachers: Tensor) -> Tensor:
        """Compute the loss of `students` and `teachers`, float [B, D], unit length, of the same photos row by row.

        Returns a scalar, 0 or more. Among equally similar neighbours, the first in the batch are taken. Raises
        ValueError for a batch with fewer photos than `neighbours`, or than 2.
        """
        self.check_batch_size(len(students))
        teacher_similarity, student_similarity = teachers @ teachers.T, students @ teachers.T
        if self.neighbours is not None:
            ranked, order = teacher_similarity.sort(dim=1, descending=True, stable=True)
            teacher_similarity = ranked[:, : self.neighbours]
            student_similarity = student_similarity.gather(1, order[:, : self.neighbours])
        return softmax_divergence(
            teacher_similarity / self.teacher_temperature, student_similarity / self.student_temperature
        ).mean()


class MemoryContextualSimilarity(Loss):
    """mean over photos of KL(softmax(t / τ_g) ‖ softmax(x / τ_q)), with neighbours from all of the teacher's vectors.

    Wu et al. (CVPR 2022), as in the paper: t and x are a photo's similarities, by its teacher's vector and by its
    student's, to the teacher's vectors of its nearest photos in the training set. Departures: the photo itself is one
    of them only if the caller includes it (`nearest_rows` does not), and the default temperatures are those of
    `ContextualSimilarity`, whose remark on the minimum applies here too.
    """

    reads = ("anchors", "teachers", "neighbours")

    def __init__(self, teacher_temperature: float = 0.01, student_temperature: float = 1.0) -> None:
        super().__init__()
        self.teacher_temperature = teacher_temperature
        self.student_temperature = student_temperature

    def forward(self, students: Tensor, teachers: Tensor, neighbours: Tensor) -> Tensor:
        """Compute the loss of `students` and `teachers`, float [B, D], unit length, of the same photos row by row.

        `neighbours`: float [B, K, D], the teacher's vectors of each photo's neighbours, K at least 2. Returns a
        scalar, 0 or more. Raises ValueError for an empty batch, and for fewer than 2 neighbours.
        """
        self.check_batch_size(len(students))
        if neighbours.shape[1] < 2:
            raise ValueError(
                f"MemoryContextualSimilarity expects at least 2 neighbours of each photo, got {neighbours.shape[1]}."
            )
        teacher_similarity = (neighbours @ teachers[:, :, None]).squeeze(2)
        student_similarity = (neighbours @ students[:, :, None]).squeeze(2)
        return softmax_divergence(
            teacher_similarity / self.teacher_temperature, student_similarity / self.student_temperature
        ).mean()


class ContextualSimilarityTable(LossTable):
    """`ContextualSimilarity`, or with `among` "all" `MemoryContextualSimilarity`.

    `among`: whether the neighbours of a photo are taken from its batch, or from the teacher's vectors of all training
    photos. `neighbours`: how many; None takes the whole batch.
    """

    name: Literal["contextual-similarity"]
    among: Literal["batch", "all"] = "batch"
    neighbours: int | None = Field(default=None, ge=2)
    teacher_temperature: float = Field(default=0.01, gt=0)
    student_temperature: float = Field(default=1.0, gt=0)

    @model_validator(mode="after")
    def _neighbours_of_all(self) -> Self:
        if self.among == "all" and self.neighbours is None:
            raise ValueError('contextual-similarity among "all" needs the number of `neighbours`')
        return self

    @property
    def teacher_neighbours(self) -> int:
        return self.neighbours or 0 if self.among == "all" else 0

    def build(self, teacher_vectors: TeacherVectorsOf, seed: int) -> Loss:
        if self.among == "all":
            return MemoryContextualSimilarity(self.teacher_temperature, self.student_temperature)
        return ContextualSimilarity(self.teacher_temperature, self.student_temperature, self.neighbours)
