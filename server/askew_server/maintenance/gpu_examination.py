"""What `askew doctor` says of GPUs: the cards, the builds of FAISS, whether they fit, and whether a trial succeeds."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from askew_server.gallery.folders import GalleryFolders
from askew_server.gallery.index_manager import WANTED_KIND
from askew_server.index.gpu.availability import why_not
from askew_server.index.gpu.cards import read_cards
from askew_server.index.gpu.kernels import find_builds
from askew_server.index.gpu.options import GpuOptions
from askew_server.index.gpu.process import GpuLost
from askew_server.index.gpu.proving import try_gpu
from askew_server.storage.errors import DatabaseError
from askew_server.storage.facts import read_fact
from askew_server.storage.sqlite import Database


@dataclass
class GpuDiagnosis:
    """`cards`, `builds`: a line for each, with the kernels. `galleries`: those that should be searched on a GPU, by name.

    With each gallery: the FAISS that a trial with vectors of its dimension succeeded with, or why the CPU will answer.
    """

    cards: list[str] = field(default_factory=list)
    builds: list[str] = field(default_factory=list)
    galleries: dict[str, str] = field(default_factory=dict)

    @property
    def lines(self) -> list[str]:
        """What there is to say, a sentence each; nothing on a machine that has nothing to do with GPUs."""
        galleries = [f"gallery {name!r} on the GPU: {said}" for name, said in self.galleries.items()]
        return [*self.cards, *(f"FAISS for the GPU: {build}" for build in self.builds), *galleries]


def examine_gpu(data: Path, options: GpuOptions) -> GpuDiagnosis:
    """Examine the cards, the environment and the galleries of DATA. Starts a process for each dimension that is needed."""
    cards = read_cards()
    diagnosis = GpuDiagnosis(cards=[str(card) for card in cards])
    try:
        builds = find_builds(options)
    except OSError as error:
        builds, diagnosis.builds = [], [f"{error}."]
    for build in builds:
        faults = {card.index: build.fault_with(card.architecture) for card in cards}
        fits = [f"fits GPU {index}" if fault is None else fault for index, fault in faults.items()]
        diagnosis.builds.append(f"{build}: {'; '.join(fits)}" if fits else str(build))
    trials: dict[int, str] = {}
    for name, dim in _wanting(data).items():
        if dim not in trials:
            trials[dim] = _trial(dim, options)
        diagnosis.galleries[name] = trials[dim]
    return diagnosis


def _wanting(data: Path) -> dict[str, int]:
    """The galleries that should be searched on a GPU, and the components of their vectors."""
    wanting = {}
    for folder in GalleryFolders(data / "galleries").found():
        try:
            with Database.open_read_only(folder / "gallery.db") as database:
                if read_fact(database, WANTED_KIND) == "gpu-exact":
                    wanting[folder.name] = int(read_fact(database, "dim") or 0)
        # What is wrong with the gallery itself is a finding of its own.
        except (DatabaseError, ValueError):
            continue
    return {name: dim for name, dim in wanting.items() if dim > 0}


def _trial(dim: int, options: GpuOptions) -> str:
    reason = why_not(options)
    if reason is None:
        try:
            return f"a trial succeeds ({try_gpu(dim, options)})."
        except GpuLost as error:
            reason = str(error)
    return f"the CPU's index will answer. {reason}"
