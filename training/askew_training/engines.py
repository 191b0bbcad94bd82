"""The native engine that only some methods need."""

from __future__ import annotations

from typing import Any

from askew_client.encoding.engines import FAISS_BUILDS, not_importable, refuse_several


def import_faiss(purpose: str) -> Any:
    """Import faiss. `purpose` completes the sentence of the error, such as `to quantise vectors`.

    Raises EngineMissing, with the sentence that names the packages, if no faiss is installed, or several are.
    """
    hint = "Install one: pip install faiss-cpu (or faiss-gpu, for an NVIDIA GPU)."
    try:
        import faiss
    except (ImportError, RuntimeError) as error:
        raise not_importable(error, "faiss", f"No faiss is installed, which is needed {purpose}.", hint) from None
    refuse_several(FAISS_BUILDS, hint)
    return faiss
