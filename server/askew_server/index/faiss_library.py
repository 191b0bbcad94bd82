"""FAISS, as an extra: imported where it is needed, and refused with a sentence where it is missing."""

from __future__ import annotations

import os
from typing import Any

from askew_client.encoding.engines import refuse_several
from askew_client.errors import EngineMissing


def gpu_count(faiss: Any) -> int:
    """How many GPUs FAISS can use."""
    # Only builds for GPUs can tell; they run without one, too, and fail when they search then.
    count: int = getattr(faiss, "get_num_gpus", lambda: 0)()
    return count


def import_faiss() -> Any:
    """Import faiss, or raise EngineMissing with the sentence that names the extra."""
    hint = "Install one: pip install 'askew-server[cpu]' (or 'askew-server[gpu]' where there is an NVIDIA GPU)."
    # Threads that spin at barriers starve the event loop on small machines; read by the OpenMP runtime at import.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    try:
        import faiss
    except ImportError:
        raise EngineMissing(f"No faiss is installed, which searches galleries. {hint}") from None
    refuse_several(("faiss-cpu", "faiss-gpu", "faiss-gpu-cu12"), hint)
    return faiss
