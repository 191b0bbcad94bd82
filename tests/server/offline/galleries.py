"""A gallery's database for the tests of packs, and the packs that are written from it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from askew_client.contract.encoder_file import read_encoder_file
from askew_client.contract.offline_pack import OfflinePackPolicy
from askew_server.offline.writer import PackOrder, Trained, WrittenPack, write_pack
from askew_server.storage.facts import GalleryFacts
from askew_server.storage.items import ItemBatch, SqliteItemStore


def clustered(count: int, dim: int, seed: int = 3) -> NDArray[np.float32]:
    """Vectors near a few centres, as those of photos are: float32 [n, D], rounded to float16."""
    random = np.random.default_rng(seed)
    centres = random.standard_normal((12, 6)) @ random.standard_normal((6, dim))
    vectors = centres[random.integers(0, 12, count)] + 0.3 * random.standard_normal((count, dim))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype("<f2").astype(np.float32)


class PackedGallery:
    """Items in a database, without a server. `dim` is that of the teacher."""

    def __init__(self, folder: Path, teacher_file: Path) -> None:
        self.folder = folder
        self.work = folder.parent / f"{folder.name}-work"
        self.work.mkdir()
        manifest = read_encoder_file(teacher_file).manifest
        self.dim = manifest.dim
        self.store = SqliteItemStore(folder)
        self.store.begin(GalleryFacts.of_new_gallery(manifest))
        self._written = 0

    def put(
        self,
        ids: list[str],
        vectors: NDArray[np.float32],
        payloads: list[dict[str, Any]] | None = None,
        photos: dict[str, bytes] | None = None,
    ) -> None:
        texts = [json.dumps(payload) for payload in payloads or [{} for _ in ids]]
        kept = {each: (content, ".jpg") for each, content in (photos or {}).items()}
        self.store.upsert(ItemBatch(ids, vectors.astype(np.float16), texts, kept))

    def delete(self, ids: list[str]) -> None:
        self.store.delete(ids)

    def pack(
        self,
        fields: list[str] | None = None,
        *,
        thumbnails: int = 0,
        size: int | None = None,
        after: tuple[bytes, WrittenPack] | None = None,
        created_at: str = "2026-01-01T00:00:00+00:00",
        max_pixels: int = 64_000_000,
    ) -> tuple[bytes, WrittenPack]:
        """The bytes of a pack, and what its writer says about it. `after`: the pack before."""
        earlier: tuple[Path, Trained] | None = None
        if after is not None:
            path = self.work / "earlier"
            path.write_bytes(after[0])
            earlier = path, after[1].trained
        policy = OfflinePackPolicy(fields=fields or [], thumbnails=thumbnails, bytes=size)
        order = PackOrder("objects", self.folder, policy, created_at, max_pixels, earlier)
        self._written += 1
        folder = self.work / str(self._written)
        folder.mkdir()
        written = write_pack(order, folder / "pack", lambda done, total: None)
        assert [path.name for path in folder.iterdir()] == ["pack"]
        return (folder / "pack").read_bytes(), written

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.store.close()
