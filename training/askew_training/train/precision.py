"""The precision that a run computes in: the recipe's, unless the processor has no fast bf16."""

from __future__ import annotations

from typing import Literal

import torch

Precision = Literal["fp32", "bf16"]

NO_FAST_BF16 = (
    "This processor has no fast bf16 (AVX-512 BF16 or AMX), in which convolutions would take up to a hundred times as "
    "long: training computes in float32."
)


def is_bf16_fast(capability: str, has_avx512_bf16: bool) -> bool:
    """Whether convolutions in bf16 are faster than in float32 on a processor.

    `capability`: what `torch.backends.cpu.get_cpu_capability()` returns. `has_avx512_bf16`: whether the processor has
    the instructions AVX512_BF16, as every one with AMX has.
    """
    # Torch gives a bf16 convolution to oneDNN if the processor has AVX-512 (F, BW, VL and DQ: what "AVX512" stands for),
    # or on ARM bf16 instructions (which "SVE256" includes). Otherwise ("DEFAULT", "NO AVX", "AVX2", …) it computes it in
    # a plain loop of its own, measured at 46 to 127 times the time of float32. AVX-512 alone is not enough to be fast:
    # without AVX512_BF16, oneDNN converts each value to float32 first, which is slower than float32 from the start.
    return capability == "SVE256" or (capability == "AVX512" and has_avx512_bf16)


def processor_has_fast_bf16() -> bool:
    """Whether convolutions in bf16 are faster than in float32 on this machine's processor."""
    # The check is public only in newer versions of torch, as an entry of torch.cpu.get_capabilities().
    return is_bf16_fast(torch.backends.cpu.get_cpu_capability(), torch.cpu._is_avx512_bf16_supported())


def choose_precision(wanted: Precision, device: str, has_fast_bf16: bool) -> Precision:
    """The precision to compute in on a `device` such as "cpu" or "cuda": `wanted`, but not slow bf16 on a CPU."""
    return "fp32" if device == "cpu" and not has_fast_bf16 else wanted
