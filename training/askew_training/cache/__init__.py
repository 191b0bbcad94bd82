"""The name that 0.1 documented for reading teacher vectors; `askew_training.vectors` is the same."""

from askew_training.vectors import TeacherVectors

__all__ = ["TeacherVectors"]
