"""Which photos of a batch are compared."""

from __future__ import annotations

import torch

from askew_training.train.batch import Batch
from tests.support.training_helpers import unit_tensors


def test_a_photo_is_not_paired_with_itself_and_unlabelled_photos_only_with_their_other_view() -> None:
    vectors = unit_tensors(5, 8, 0)
    photos, instances = torch.tensor([0, 1, 2, 3, 3]), torch.tensor([0, 0, 1, 2, 2])
    batch = Batch(vectors, vectors, photos, instances)
    _, references, positives, negatives = batch.inputs(("anchors", "references", "positives", "negatives"), "student")
    assert references is vectors
    assert positives.nonzero().tolist() == [[0, 1], [1, 0], [3, 4], [4, 3]]
    assert not bool((negatives & positives).any()) and not bool(negatives.diagonal().any())
    # The teacher has one vector for both views of photo 3: pulling towards it is what regression does.
    _, positives, negatives = batch.inputs(("anchors", "positives", "negatives"), "teacher")
    assert positives.nonzero().tolist() == [[0, 1], [1, 0]]
    assert not bool(negatives[3, 4])
