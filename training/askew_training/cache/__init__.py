"""A teacher's vectors of a set of photos, computed once and kept in a folder that is read without loading it."""

from askew_training.cache.vectors import TeacherVectors

__all__ = ["TeacherVectors"]
