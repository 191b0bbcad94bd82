"""Heads: the linear layer after pooling. A whitening learned from photos with or without labels, a published one, or a
ridge regression onto a teacher's vectors."""

from askew_training.heads.linear import Whitening, apply_linear
from askew_training.heads.pair_whitening import learn_whitening_of_pairs, pairs_of
from askew_training.heads.pca import learn_whitening
from askew_training.heads.published import PublishedWhitening, read_published_whitening

__all__ = [
    "PublishedWhitening",
    "Whitening",
    "apply_linear",
    "learn_whitening",
    "learn_whitening_of_pairs",
    "pairs_of",
    "read_published_whitening",
]
