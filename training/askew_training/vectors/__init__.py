"""A teacher's vectors of a set of photos, computed once and kept in a folder that is read without loading it."""

from askew_training.vectors.teacher_vectors import TeacherVectors

__all__ = ["TeacherVectors"]
