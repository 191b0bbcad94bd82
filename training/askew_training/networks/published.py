"""Where the authors of cirtorch publish their networks."""

from __future__ import annotations

_NETWORKS = "http://cmp.felk.cvut.cz/cnnimageretrieval/data/networks"
_FOLDERS = {"retrievalSfM120k-": "retrieval-SfM-120k", "rSfM120k-tl-": "retrieval-SfM-120k", "gl18-tl-": "gl18"}
"""The folder of files whose names begin like this."""


def published_address(name: str) -> str | None:
    """The address of a file such as `retrievalSfM120k-resnet101-gem-b80fb85.pth`; None if it is not one of theirs."""
    if not name.endswith(".pth"):
        return None
    return next((f"{_NETWORKS}/{folder}/{name}" for start, folder in _FOLDERS.items() if name.startswith(start)), None)
