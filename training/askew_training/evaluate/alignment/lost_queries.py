"""The queries that lost most when a student took its teacher's place."""

from __future__ import annotations

from dataclasses import dataclass

from askew_training.evaluate.measurement import Measurement, QueryResult

LIMIT = 10


@dataclass(frozen=True)
class Loss:
    """A query that both measurements counted, with its average precision in each, 0 to 1."""

    query: QueryResult
    teacher: float
    student: float


def lost_most(student: Measurement, teacher: Measurement, limit: int = LIMIT) -> list[Loss]:
    """List the queries that the student does worse, by how much, the worst first; equal ones in the order of the queries.

    `student`: an asymmetric measurement, `teacher`: the symmetric one of its gallery's encoder, of the same dataset and
    protocol. Queries that do as well or better are not listed.
    """
    of_teacher = {each.id: each.average_precision for each in teacher.counted}
    losses = [
        Loss(each, of_teacher[each.id] or 0.0, each.average_precision or 0.0)
        for each in student.counted
        if each.id in of_teacher
    ]
    worse = [loss for loss in losses if loss.student < loss.teacher]
    return sorted(worse, key=lambda loss: loss.student - loss.teacher)[:limit]
