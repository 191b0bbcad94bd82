"""Vectors of photos, computed once and kept on disk: a teacher's, to learn from, and any encoder's, to measure it."""

from askew_training.vectors.teacher_vectors import TeacherVectors

__all__ = ["TeacherVectors"]
