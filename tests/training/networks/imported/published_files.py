"""Files in published layouts, and what the published code computes from them, in few lines and without ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
import torchvision  # type: ignore[import-untyped]
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models import vgg  # type: ignore[import-untyped]

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
THREE = (1.0, 1 / 2**0.5, 0.5)
VGG = {"vgg11": "A", "vgg16": "D"}
OLD_PLACES = {"0": "0", "1": "1", "2": "3", "3": "4", "4": "5", "5": "7"}
"""Places in timm's EfficientNets of 0.1 to 0.8, whose activations had places of their own, by those of today."""


class Pool(nn.Module):
    def __init__(self, p: Tensor) -> None:
        super().__init__()
        self.p = nn.Parameter(p)


class RetrievalNetwork(nn.Module):
    """cirtorch's `ImageRetrievalNet`: features → GeM → L2 → [whitening → L2], and its extraction at several scales."""

    def __init__(self, features: nn.Module, p: Tensor, whiten: nn.Linear | None = None) -> None:
        super().__init__()
        self.features = features
        self.pool = Pool(p)
        if whiten is not None:
            self.whiten = whiten

    def forward(self, photo: Tensor) -> Tensor:
        maps: Tensor = self.features(photo)
        p = self.pool.p if self.pool.p.numel() == 1 else self.pool.p[:, None, None]
        pooled = functional.avg_pool2d(maps.clamp(min=1e-6).pow(p), maps.shape[-2:]).pow(1 / p)[..., 0, 0]
        vector = _unit(pooled)
        return _unit(self.whiten(vector)) if hasattr(self, "whiten") else vector

    @torch.inference_mode()
    def extract(self, pixels: NDArray[np.uint8], scales: Sequence[float], exponent: float | None = None) -> Tensor:
        """The vector [D] of uint8 [H, W, 3] pixels; `exponent`: of the mean over several scales, default: the network's."""
        photo = torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255
        photo = (photo - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
        has_power = self.pool.p.numel() == 1 and not hasattr(self, "whiten")
        power = exponent or (float(self.pool.p) if has_power else 1.0)
        total = torch.zeros(())
        for scale in scales:
            resized = photo if scale == 1 else functional.interpolate(
                photo, scale_factor=scale, mode="bilinear", align_corners=False
            )  # fmt: skip
            total = total + self(resized)[0].pow(power)
        mean = (total / len(scales)).pow(1 / power)
        return mean / mean.norm()


def retrieval_network(
    name: str, dim: int | None = None, p: Tensor | None = None, whiten: bool = False
) -> RetrievalNetwork:
    """A network in cirtorch's layout with random weights, in eval mode. `dim`: of the 1×1 convolution and ReLU of the AML paper's students."""
    if name == "mobilenet_v2":
        layers: list[nn.Module] = [torchvision.models.mobilenet_v2(weights=None).features]
    elif name.startswith("vgg"):
        layers = list(vgg.make_layers(vgg.cfgs[VGG[name]]).children())[:-1]
    elif "efficientnet" in name:
        layers = list(timm.create_model(name).children())[:-2]
    else:
        layers = list(getattr(torchvision.models, name)(weights=None).children())[:-2]
    with torch.inference_mode():
        channels = nn.Sequential(*layers).eval()(torch.zeros(1, 3, 64, 64)).shape[1]
    if dim is not None:
        layers += [nn.Conv2d(channels, dim, 1, bias=False), nn.ReLU()]
        channels = dim
    network = RetrievalNetwork(
        nn.Sequential(*layers),
        torch.tensor([2.6]) if p is None else p,
        nn.Linear(channels, channels) if whiten else None,
    )
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None and module.running_var is not None
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
    return network.eval()


def old_order(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a network of an EfficientNet of today by the names that timm 0.1 to 0.8 gave them."""
    renamed = {}
    for name, tensor in tensors.items():
        first, _, rest = name.removeprefix("features.").partition(".")
        renamed[f"features.{OLD_PLACES[first]}.{rest}" if name.startswith("features.") else name] = tensor
    return renamed


def release(network: RetrievalNetwork, architecture: str, **meta: object) -> dict[str, Any]:
    """What a release of cirtorch holds. Files of old versions have no counters of batch normalisation."""
    tensors = {name: each for name, each in network.state_dict().items() if not name.endswith("num_batches_tracked")}
    stated = {"architecture": architecture, "pooling": "gem", "mean": MEAN, "std": STD, **meta}
    return {"meta": stated, "state_dict": tensors}


def whitening(channels: int, seed: int = 0) -> dict[str, NDArray[np.float64]]:
    random = np.random.default_rng(seed)
    return {"m": random.uniform(0, 0.05, (channels, 1)), "P": random.standard_normal((channels, channels))}


def save(path: Path, content: object, is_legacy: bool = True) -> Path:
    """Published files have torch's form from before 1.6."""
    torch.save(content, path, _use_new_zipfile_serialization=not is_legacy)
    return path


def _unit(vectors: Tensor) -> Tensor:
    return vectors / (vectors.norm(dim=1, keepdim=True) + 1e-6)
