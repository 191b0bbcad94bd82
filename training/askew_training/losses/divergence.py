"""The divergence of two softmax distributions over the same choices."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def softmax_divergence(target_logits: Tensor, logits: Tensor) -> Tensor:
    """KL(softmax(target_logits) ‖ softmax(logits)) over the last axis: float [..., K] to [...], 0 or more.

    Computed from the logarithms of both, so that a probability that rounds to 0 adds 0 and not NaN.
    """
    target, predicted = target_logits.log_softmax(-1), logits.log_softmax(-1)
    return functional.kl_div(predicted, target, reduction="none", log_target=True).sum(-1)
