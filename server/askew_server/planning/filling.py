"""How long it takes to fill a gallery: description, import, the build of the index."""

from __future__ import annotations

from typing import Protocol

from askew_server.planning.figures import Constants, Figure


class Photos(Protocol):
    """Photos to describe, and the machines that do it. `photos_per_second`: of one machine, None: by its cores."""

    @property
    def items(self) -> int: ...
    @property
    def cores(self) -> int: ...
    @property
    def photos_per_second(self) -> float | None: ...


def filling_figures(photos: Photos, per_shard: int, constants: Constants) -> list[Figure]:
    """Hours of machines."""
    core, imported, built = (
        constants[name]
        for name in ("photos_per_core_second", "vectors_imported_per_second", "build_seconds_per_vector")
    )
    given = photos.photos_per_second
    rate = core.value * photos.cores if given is None else given
    return [
        Figure(
            "description",
            photos.items / rate / 3_600,
            "machine-hours",
            "items / (photos_per_core_second × cores), divided among as many machines as there are shards of `askew index`"
            if given is None
            else f"items / {given:g} (--photos-per-second)",
            (core,) if given is None else (),
        ),
        Figure(
            "import of a shard",
            per_shard / imported.value / 3_600,
            "hours",
            "items in a shard / vectors_imported_per_second; with pictures it takes longer",
            (imported,),
        ),
        Figure(
            "build of the index of a shard",
            per_shard * built.value / 3_600,
            "hours",
            "items in a shard × build_seconds_per_vector, on two cores",
            (built,),
        ),
    ]
