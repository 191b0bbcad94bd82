"""Describing photos, and boxes of photos, with an encoder's cache: what commands that measure manifests share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from askew_training.evaluate.benchmark import View
    from askew_training.vectors.descriptor_cache import DescriptorCache


def describe_views(
    cache: DescriptorCache, views: Sequence[View], advance: Callable[[], None]
) -> tuple[dict[View, NDArray[np.float32]], dict[View, str]]:
    """Describe photos and boxes: unit vectors, float32 [D], by view, and a sentence for each that cannot be described."""
    from askew_training.data.crops import Crop
    from askew_training.export.shrinking import shrink

    whole = cache.describe([view for view in views if isinstance(view, Path)], advance)
    boxes = cache.describe_crops([view for view in views if isinstance(view, Crop)], shrink, advance)
    vectors: dict[View, NDArray[np.float32]] = dict(whole.vectors.items())
    vectors.update((box, vector) for box, vector in boxes.vectors.items())
    unreadable: dict[View, str] = dict(whole.unreadable.items())
    unreadable.update((box, sentence) for box, sentence in boxes.unreadable.items())
    return vectors, unreadable
