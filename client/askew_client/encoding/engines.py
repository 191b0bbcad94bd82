"""Native engines are extras: exactly one build of each may be installed."""

from __future__ import annotations

from importlib import metadata

from askew_client.contract.errors import EngineMissing

FAISS_GPU_BUILDS = (
    "faiss-gpu",
    "faiss-gpu-cuvs",
    "faiss-gpu-cu13-cuvs",
    "faiss-gpu-cu13",
    "faiss-gpu-cu12",
    "faiss-gpu-cu11",
)
FAISS_BUILDS = ("faiss-cpu", *FAISS_GPU_BUILDS)
"""The distributions that provide the module `faiss`."""


def refuse_several(builds: tuple[str, ...], hint: str) -> None:
    """Raise EngineMissing if more than one of these distributions is installed: they overwrite each other's files.

    `hint`: the sentence that names the extra to install.
    """
    installed = [name for name in builds if _is_installed(name)]
    if len(installed) > 1:
        raise EngineMissing(
            f"{' and '.join(installed)} are both installed, and they overwrite each other's files. "
            f"Uninstall them, then install one: pip uninstall -y {' '.join(installed)}. {hint}"
        )


def _is_installed(distribution: str) -> bool:
    try:
        metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True
