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


def not_importable(error: ImportError | RuntimeError, module: str, absent: str, hint: str) -> EngineMissing:
    """The error for an engine that could not be imported: `absent` if it is not installed, otherwise why it did not load.

    Raises KeyboardInterrupt if Ctrl-C came while it was loaded: native modules report that as an ImportError.
    """
    if isinstance(error, ModuleNotFoundError) and error.name == module:
        return EngineMissing(f"{absent} {hint}")
    if KeyboardInterrupt.__name__ in str(error):
        raise KeyboardInterrupt from None
    reason = str(error).splitlines()[0].rstrip(".")
    return EngineMissing(
        f"{module} is installed, but cannot be loaded: {reason}. Install it again, in a new environment."
    )


def _is_installed(distribution: str) -> bool:
    try:
        metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True
