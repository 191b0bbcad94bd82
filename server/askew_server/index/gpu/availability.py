"""Whether a GPU can be chosen for a gallery at all: what can be known without running anything on one."""

from __future__ import annotations

from askew_server.index.faiss_library import GPU_HINT
from askew_server.index.gpu.cards import has_device_files, read_cards
from askew_server.index.gpu.kernels import find_builds
from askew_server.index.gpu.options import GpuOptions

NO_GPU = (
    "No NVIDIA GPU is found here: `nvidia-smi` lists none. Choose exact or two-stage, or move to a machine with one."
)


def why_not(options: GpuOptions) -> str | None:
    """A sentence that says what is missing for an index on the GPU; None if it is worth a try. Takes up to some seconds."""
    if options.is_on_cpu or options.engine is not None:
        return None
    cards = {card.index: card for card in read_cards()}
    if not cards and not has_device_files():
        return NO_GPU
    try:
        builds = find_builds(options)
    except OSError as error:
        return f"The setting gpu_python names no interpreter: {error}."
    if not builds:
        return f"No FAISS with GPU support is installed in {options.environment}. {GPU_HINT}"
    if len(builds) > 1:
        names = " and ".join(build.name for build in builds)
        return f"{names} are both installed in {options.environment}, and overwrite each other's files. Uninstall all but one."
    for device in options.devices:
        if cards and device not in cards:
            return f"The setting gpu_devices names GPU {device}; there are {', '.join(sorted(cards))}."
        if device in cards and (fault := builds[0].fault_with(cards[device].architecture)) is not None:
            return f"{cards[device]}, but {fault}"
    return None
