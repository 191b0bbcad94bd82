"""How the server uses GPUs. The settings that begin with `gpu_` make these options."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

ON_CPU = "cpu"
"""The device that stands for no GPU: FAISS on the processor, in the same arrangement of processes."""

GpuLayout = Literal["shard", "replica"]


@dataclass(frozen=True)
class GpuOptions:
    """Which environment and which GPUs search the galleries that are to be searched on a GPU.

    `python`: the interpreter of an environment with a GPU build of FAISS; None: the server's own. `devices`: the numbers of
    the GPUs in PCI order, or "cpu". `layout`: with several GPUs, each holds a part of the vectors (shard), or all of
    them (replica). `answer_seconds`: how long a search waits for the GPU before the CPU's index answers it.
    `retry_seconds`: the pause before the first restart of a process that was lost; it doubles with each further one.
    `check_seconds`: between two looks at whether it still answers as the processor does.
    `engine`: the module that opens an index on one device; None: the one for the devices.
    """

    python: Path | None = None
    devices: tuple[str, ...] = ("0",)
    layout: GpuLayout = "shard"
    answer_seconds: float = 0.5
    retry_seconds: float = 1.0
    check_seconds: float = 60.0
    engine: str | None = None

    @property
    def engine_module(self) -> str:
        """The module that the child process imports; see child.py."""
        if self.engine is not None:
            return self.engine
        return f"askew_server.index.gpu.{'on_cpu' if self.is_on_cpu else 'on_gpu'}"

    @property
    def is_on_cpu(self) -> bool:
        """Whether no GPU is used."""
        return set(self.devices) == {ON_CPU}

    @property
    def environment(self) -> str:
        """The environment that the child process uses, in words."""
        return "the server's environment" if self.python is None else f"the environment of {self.python}"


FIRST_GPU = GpuOptions()
"""The first GPU, by the server's own environment."""
