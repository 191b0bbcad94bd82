"""The NVIDIA cards of this machine, asked of `nvidia-smi`, and whether an index fits into their memory.

CUDA is never asked in the server's process.
"""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from askew_client.contract.problems import ProblemKind
from askew_server.errors import Refusal
from askew_server.index.gpu.options import GpuOptions

_QUERY = "index,name,compute_cap,memory.total,memory.free,driver_version"
_SECONDS = 20.0
_MIB = 1 << 20
_OVERHEAD_BYTES = 1_200 << 20
"""CUDA's context, cuBLAS, FAISS's kernels, and the memory that it searches in."""

_LARGEST_PART_ELEMENTS = 1 << 31
_USABLE_SHARE = 0.95


@dataclass(frozen=True)
class Card:
    """One GPU. `index`: in PCI order. `architecture`: the compute capability without its dot, such as 90 for Hopper."""

    index: str
    name: str
    architecture: int
    bytes_total: int
    bytes_free: int
    driver: str

    def __str__(self) -> str:
        return (
            f"GPU {self.index}: {self.name}, sm_{self.architecture}, {self.bytes_free / 1e9:.1f} of "
            f"{self.bytes_total / 1e9:.1f} GB free, driver {self.driver}"
        )


def read_cards() -> list[Card]:
    """The cards that `nvidia-smi` lists; none where there is no such program, or it fails."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    command = [program, f"--query-gpu={_QUERY}", "--format=csv,noheader,nounits"]
    try:
        listed = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    return [card for line in listed.splitlines() if (card := _card(line)) is not None]


def has_device_files() -> bool:
    """Whether this machine shows a sign of an NVIDIA GPU: some containers have the devices and no `nvidia-smi`."""
    return any(Path("/dev").glob("nvidia[0-9]*")) or Path("/dev/dxg").exists()


def bytes_on_each(count: int, dim: int, options: GpuOptions) -> int:
    """About how many bytes each of the GPUs needs for `count` vectors, also while they are loaded."""
    data = 2 * count * dim
    if options.layout == "shard":
        data = -(-data // len(options.devices))
    # An index copies itself when it grows; parts.py limits how large one grows.
    return data + min(data, 2 * _LARGEST_PART_ELEMENTS) + _OVERHEAD_BYTES


def refuse_too_large_for_cards(count: int, dim: int, options: GpuOptions) -> None:
    """Raise Refusal (would-not-fit) if a card has too little free memory. Nothing is known without `nvidia-smi`."""
    if options.is_on_cpu:
        return
    needed = bytes_on_each(count, dim, options)
    for card in read_cards():
        if card.index in options.devices and needed > _USABLE_SHARE * card.bytes_free:
            raise Refusal(
                ProblemKind.WOULD_NOT_FIT,
                f"Searching {count:,} vectors of {dim} components on the GPU needs about {needed / 1e9:.1f} GB on each "
                f"card, and {card}. Free some of it, name more cards with gpu_devices and gpu_layout=shard, or choose "
                "another kind of index.",
                {"kind": "gpu-exact", "what": "GPU memory", "needed_bytes": needed, "free_bytes": card.bytes_free},
            )


def _card(line: str) -> Card | None:
    fields = [field.strip() for field in line.split(",")]
    try:
        index, name, capability, total, free, driver = fields
        architecture = int(capability.replace(".", ""))
        return Card(index, name, architecture, int(total) * _MIB, int(free) * _MIB, driver)
    except ValueError:
        return None
