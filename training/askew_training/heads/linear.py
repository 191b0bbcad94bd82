"""Linear maps whose result is scaled to unit length, such as whitenings."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from askew_training.errors import DataError


@dataclass(frozen=True)
class Whitening:
    """A linear map x ↦ weight · x + bias: float32 [D, C] and [D]; the most useful components come first."""

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]

    def apply(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Map float32 [n, C] vectors to float32 [n, D] unit vectors; NaN for one that is mapped to zeros."""
        mapped = vectors @ self.weight.T + self.bias
        # A vector that is mapped to zeros has no direction: its values become NaN, without a warning on the terminal.
        with np.errstate(invalid="ignore"):
            return np.asarray(mapped / np.linalg.norm(mapped, axis=1, keepdims=True), dtype=np.float32)

    def truncated(self, dim: int) -> Whitening:
        """The map to the first `dim` components, which defines another space. Raises DataError."""
        if not 1 <= dim <= len(self.weight):
            raise DataError(f"Expected 1 to {len(self.weight)} dimensions, those of the whitening, got {dim}.")
        return Whitening(self.weight[:dim], self.bias[:dim])

    def as_layer(self) -> nn.Linear:
        """Convert to a torch layer."""
        dim, channels = self.weight.shape
        layer = nn.Linear(channels, dim)
        layer.load_state_dict({"weight": torch.from_numpy(self.weight), "bias": torch.from_numpy(self.bias)})
        return layer

    @classmethod
    def of_layer(cls, layer: nn.Linear) -> Whitening:
        """Convert from a torch layer with a bias."""
        return cls(layer.weight.detach().cpu().numpy(), layer.bias.detach().cpu().numpy())


def apply_linear(layer: nn.Linear, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Map float32 [n, C] vectors to float32 [n, D] unit vectors with a torch layer."""
    return Whitening.of_layer(layer).apply(vectors)
