"""What a GPU describes, compared with the CPU."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest

from askew_client import Encoder
from askew_client.encoding.photos import read_photo
from tests.support.paths import ROOT

PHOTOS = 200


@pytest.mark.slow
@pytest.mark.skipif(
    "CUDAExecutionProvider" not in onnxruntime.get_available_providers(),
    reason="NOT CHECKED here: that a GPU describes 200 photos as the CPU does. It needs onnxruntime-gpu and a GPU.",
)
def test_a_gpu_describes_photos_of_their_own_shapes_as_the_cpu_does(monkeypatch: pytest.MonkeyPatch) -> None:
    paths = sorted((ROOT / "demo" / "gallery").rglob("*.jpg"))
    pixels = [read_photo(path) for path in paths]
    # Cut by a different margin each, the photos have shapes of their own.
    pixels += [photo[: photo.shape[0] - 3 * number - 1] for number, photo in enumerate(pixels[: PHOTOS - len(pixels)])]
    on_gpu = Encoder(ROOT / "demo" / "encoders" / "teacher.onnx")
    found = np.stack([on_gpu.encode_pixels(photo) for photo in pixels])
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    on_cpu = Encoder(ROOT / "demo" / "encoders" / "teacher.onnx")
    expected = np.stack([on_cpu.encode_pixels(photo) for photo in pixels])
    assert len(found) == PHOTOS
    assert (found * expected).sum(1).min() >= 0.9999
