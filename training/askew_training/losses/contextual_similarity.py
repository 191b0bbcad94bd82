"""Contextual similarity distillation: how similar a photo is to its neighbours, as a distribution over them."""

from __future__ import annotations

from torch import Tensor, nn

from askew_training.losses.batch_size import refuse_small_batch
from askew_training.losses.divergence import softmax_divergence


class ContextualSimilarity(nn.Module):
    """mean over photos of KL(softmax(t / τ_g) ‖ softmax(x / τ_q)), with neighbours from the batch.

    Wu et al., "Contextual Similarity Distillation for Asymmetric Image Retrieval" (CVPR 2022), in the form of
    SCY-X/D3still, which takes the neighbours from the batch and not, as the paper does, from the training set
    (`MemoryContextualSimilarity`). t and x are a photo's similarities, by its teacher's vector and by its student's,
    to the teacher's vectors of its `neighbours`: itself and the others that its teacher puts first; None is the whole
    batch. τ_g is `teacher_temperature`, τ_q `student_temperature`; the defaults are of that code.

    With equal temperatures the loss is 0 where students and teachers are equal. With the defaults it has neither its
    floor nor gradient 0 there: a student cannot be as sharp as that teacher, and is pulled beyond it. Departure from
    the code: similarities keep the vectors' dtype; the code computes them in float64.
    """

    reads = ("anchors", "teachers")

    def __init__(
        self, teacher_temperature: float = 0.01, student_temperature: float = 1.0, neighbours: int | None = None
    ) -> None:
        super().__init__()
        if neighbours is not None and neighbours < 2:
            raise ValueError(f"ContextualSimilarity expects at least 2 neighbours, got {neighbours}: one is certain.")
        self.teacher_temperature = teacher_temperature
        self.student_temperature = student_temperature
        self.neighbours = neighbours
        self.smallest_batch = neighbours or 2

    def forward(self, students: Tensor, teachers: Tensor) -> Tensor:
        """Compute the loss of `students` on `teachers`, float [B, D], unit length, row by row the same photos.

        Returns a scalar, 0 or more. Among neighbours of one similarity, the first in the batch are taken. Raises
        ValueError for a batch with fewer photos than `neighbours`, or than 2.
        """
        refuse_small_batch("ContextualSimilarity", len(students), self.smallest_batch)
        teacher_similarity, student_similarity = teachers @ teachers.T, students @ teachers.T
        if self.neighbours is not None:
            ranked, order = teacher_similarity.sort(dim=1, descending=True, stable=True)
            teacher_similarity = ranked[:, : self.neighbours]
            student_similarity = student_similarity.gather(1, order[:, : self.neighbours])
        return softmax_divergence(
            teacher_similarity / self.teacher_temperature, student_similarity / self.student_temperature
        ).mean()


class MemoryContextualSimilarity(nn.Module):
    """mean over photos of KL(softmax(t / τ_g) ‖ softmax(x / τ_q)), with neighbours from all of the teacher's vectors.

    Wu et al. (CVPR 2022), as the paper has it: t and x are a photo's similarities, by its teacher's vector and by its
    student's, to the teacher's vectors of its nearest photos in the training set. Departures: the photo itself is one
    of them only where the caller gives it (`nearest_rows` does not), and the default temperatures are those of
    `ContextualSimilarity`, whose remark on what is minimal where holds here too.
    """

    reads = ("anchors", "teachers", "neighbours")
    smallest_batch = 1

    def __init__(self, teacher_temperature: float = 0.01, student_temperature: float = 1.0) -> None:
        super().__init__()
        self.teacher_temperature = teacher_temperature
        self.student_temperature = student_temperature

    def forward(self, students: Tensor, teachers: Tensor, neighbours: Tensor) -> Tensor:
        """Compute the loss of `students` on `teachers`, float [B, D], unit length, row by row the same photos.

        `neighbours`: float [B, K, D], the teacher's vectors of each photo's neighbours, K at least 2. Returns a
        scalar, 0 or more. Raises ValueError for an empty batch, and for fewer than 2 neighbours.
        """
        refuse_small_batch("MemoryContextualSimilarity", len(students), self.smallest_batch)
        if neighbours.shape[1] < 2:
            raise ValueError(
                f"MemoryContextualSimilarity expects at least 2 neighbours of each photo, got {neighbours.shape[1]}."
            )
        teacher_similarity = (neighbours @ teachers[:, :, None]).squeeze(2)
        student_similarity = (neighbours @ students[:, :, None]).squeeze(2)
        return softmax_divergence(
            teacher_similarity / self.teacher_temperature, student_similarity / self.student_temperature
        ).mean()
