"""A whitening as what it is: a linear map, whose result is brought to unit length."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from askew_training.errors import DataError


@dataclass(frozen=True)
class Whitening:
    """A linear map x ↦ weight · x + bias: float32 [D, C] and [D]; the components of most use come first."""

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]

    def apply(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Map float32 [n, C] vectors to float32 [n, D] unit vectors."""
        mapped = vectors @ self.weight.T + self.bias
        return np.asarray(mapped / np.linalg.norm(mapped, axis=1, keepdims=True), dtype=np.float32)

    def truncated(self, dim: int) -> Whitening:
        """The map to the first `dim` components. Their vectors lie in a space of their own. Raises DataError."""
        most = len(self.weight)
        if not 1 <= dim <= most:
            raise DataError(f"Expected 1 to {most} dimensions, as many as the whitening has, got {dim}.")
        return Whitening(self.weight[:dim], self.bias[:dim])

    def as_layer(self) -> nn.Linear:
        """The same map as a torch layer."""
        dim, channels = self.weight.shape
        layer = nn.Linear(channels, dim)
        layer.load_state_dict({"weight": torch.from_numpy(self.weight), "bias": torch.from_numpy(self.bias)})
        return layer

    @classmethod
    def of_layer(cls, layer: nn.Linear) -> Whitening:
        """The map of a torch layer with a bias."""
        return cls(layer.weight.detach().cpu().numpy(), layer.bias.detach().cpu().numpy())


def apply_linear(layer: nn.Linear, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Map float32 [n, C] vectors by a layer to float32 [n, D] unit vectors."""
    return Whitening.of_layer(layer).apply(vectors)
