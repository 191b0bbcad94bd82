"""Moving tensors to the device that computes, without waiting for what runs there."""

from __future__ import annotations

import torch
from torch import Tensor


def put(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy a tensor from memory to a device.

    To a GPU it is copied from pinned memory: from other memory, torch would first wait until everything that was given to
    the GPU has been computed.
    """
    if device.type != "cuda" or tensor.device.type != "cpu":
        return tensor.to(device)
    pinned = tensor if tensor.is_pinned() else tensor.pin_memory()
    return pinned.to(device, non_blocking=True)
