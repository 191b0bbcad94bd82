"""One gallery: its store and its index, kept in step. No HTTP and no FAISS here.

A Gallery is used by one thread at a time (see galleries.py), so that the index is never searched while it changes.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from askew_client.contract.encoder_file import EncoderFile
from askew_client.contract.filters import Filter
from askew_client.contract.manifest import Manifest
from askew_client.contract.problems import ProblemKind
from askew_client.contract.schemas import (
    AdmissionReport,
    EncoderDescription,
    GalleryDescription,
    Hit,
    Item,
    ItemPage,
)
from askew_server.encoder_store import EncoderStore
from askew_server.errors import DamagedGallery, Refusal
from askew_server.filters import filter_to_sql
from askew_server.index.faiss_exact import FaissExactIndex
from askew_server.index.port import Labels, VectorIndex, Vectors
from askew_server.index.saved import load_index, save_index
from askew_server.probes import ProbeStore
from askew_server.store import GalleryStore, ItemRow, StoredItem

SCORE_DECIMALS = 6
_MARGIN = 8


@dataclass(frozen=True)
class SearchResult:
    """The hits of each query, with the name of the index that found them."""

    hits: list[list[Hit]]
    index: str
    exact: bool


class Gallery:
    """A named set of items in one space, described by one teacher."""

    def __init__(self, name: str, store: GalleryStore) -> None:
        self.name = name
        self.store = store
        self.space = store.fact("space") or ""
        self.dim = int(store.fact("dim") or 0)
        self.teacher = Manifest.model_validate_json(store.fact("teacher") or "{}")
        self.encoders = EncoderStore(store.connection, store.folder / "encoders", name, self.teacher)
        self.probes = ProbeStore(store.connection, store.folder / "probes", name)
        self._index_folder = store.folder / "index"
        self._index: VectorIndex
        self._index, self._saved_sequence = self._open_index()

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Open a gallery and bring its index up to date with its database. Raises DamagedGallery."""
        store = GalleryStore(folder)
        try:
            return cls(folder.name, store)
        except ValueError as error:
            store.close()
            reason = str(error).splitlines()[0]
            raise DamagedGallery(
                f"The gallery in {folder} cannot be opened: its facts are damaged: {reason}."
            ) from None

    @classmethod
    def create(cls, folder: Path, teacher: Manifest) -> Self:
        """Begin an empty gallery in the teacher's space."""
        store = GalleryStore(folder)
        facts = {"space": teacher.space_id, "dim": str(teacher.dim), "teacher": teacher.model_dump_json()}
        store.begin({**facts, "created_at": _now()})
        return cls(folder.name, store)

    def close(self) -> None:
        """Save the index where it changed, and close the store."""
        self.save_index()
        self.store.close()

    def save_index(self) -> None:
        """Save the index, if it changed since it was saved."""
        sequence = self.store.sequence
        if sequence != self._saved_sequence:
            save_index(self._index_folder, self._index, sequence)
            self.store.forget_removed(sequence)
            self._saved_sequence = sequence

    def describe(self) -> GalleryDescription:
        """The gallery as its users see it."""
        items, photos = self.store.counts()
        return GalleryDescription(
            name=self.name,
            space=self.space,
            dim=self.dim,
            items=items,
            photos=photos,
            sequence=self.store.sequence,
            index=self._index.name,
            exact=self._index.exact,
            teacher=self.teacher.encoder_id,
            photo_size=self.teacher.photo_size,
            scales=self.teacher.scales,
            describes_photos=self.teacher_path() is not None,
            admitted_encoders=self.admitted_encoders(),
        )

    # Items

    def upsert(self, items: list[StoredItem]) -> int:
        """Insert or replace items; acknowledged, and found by the next search, when it returns. The sequence."""
        labels, replaced = self.store.upsert(items)
        self._index.remove(replaced)
        vectors = {item.id: item.vector for item in items}
        # What is searched is what is stored: float16, also before a restart.
        stored = np.stack(list(vectors.values())).astype("<f2").astype(np.float32)
        self._index.add(labels, stored)
        return self.store.sequence

    def delete(self, item_id: str) -> int:
        """Delete an item: the sequence. Raises Refusal (unknown-item)."""
        label = self.store.delete(item_id)
        if label is None:
            raise self._unknown_item(item_id)
        self._index.remove(np.array([label], dtype=np.int64))
        return self.store.sequence

    def item(self, item_id: str, *, with_vector: bool) -> Item:
        """One item. Raises Refusal (unknown-item)."""
        row = self.store.item(item_id)
        if row is None:
            raise self._unknown_item(item_id)
        return _item(row, with_vector)

    def page(self, cursor: str | None, limit: int, *, with_vectors: bool) -> ItemPage:
        """One page of items in the order of ids. Raises Refusal (validation) for a foreign cursor."""
        rows = self.store.page(_read_cursor(cursor), limit + 1)
        following = _write_cursor(rows[limit - 1].id) if len(rows) > limit else None
        return ItemPage(items=[_item(row, with_vectors) for row in rows[:limit]], next_cursor=following)

    def photo(self, item_id: str) -> Path:
        """The file of an item's photo. Raises Refusal (unknown-item) when there is no item or no photo."""
        row = self.store.item(item_id)
        if row is None:
            raise self._unknown_item(item_id)
        if row.photo is None:
            raise Refusal(ProblemKind.UNKNOWN_ITEM, f"Item {item_id!r} of gallery {self.name!r} has no photo.")
        return self.store.photo_path(row.photo)

    # Search

    def search(self, queries: Vectors, limit: int, threshold: float | None, condition: Filter | None) -> SearchResult:
        """The nearest items of each query, float32 [n, D] of unit length.

        Scores are computed anew from the stored vectors in float64 and rounded to 1e-6, hits ordered by falling
        score, then id: so a query has the same answer alone and in a batch. Raises Refusal for a filter.
        """
        allowed = None if condition is None else self.store.labels_where(*filter_to_sql(condition))
        available = len(self._index) if allowed is None else len(allowed)
        if not available:
            return self._result([[] for _ in queries])
        wanted = min(limit, available)
        fetched = min(wanted + _MARGIN, available)
        while True:
            labels = self._index.search(queries, fetched, allowed)
            ranked = [self._ranked(query, row[row >= 0]) for query, row in zip(queries, labels, strict=True)]
            # Equal scores at the edge of what was fetched: an equal one with a smaller id may lie beyond it.
            if fetched == available or all(row[-1][0] < row[wanted - 1][0] for row in ranked):
                break
            fetched = min(2 * fetched, available)
        return self._result(self._hits(ranked, wanted, threshold))

    def _ranked(self, query: NDArray[np.float32], labels: Labels) -> list[tuple[float, int]]:
        scores = self._index.vectors(labels).astype(np.float64) @ query.astype(np.float64)
        rounded = np.round(np.clip(scores, -1.0, 1.0), SCORE_DECIMALS)
        order = np.argsort(-rounded, kind="stable")
        return [(float(rounded[position]), int(labels[position])) for position in order]

    def _hits(self, ranked: list[list[tuple[float, int]]], wanted: int, threshold: float | None) -> list[list[Hit]]:
        items = self.store.items_by_label({label for row in ranked for _, label in row})
        answers = []
        for row in ranked:
            found = [(-score, *items[label]) for score, label in row]
            found.sort(key=lambda hit: hit[:2])
            hits = [Hit(id=item_id, score=-negative, payload=payload) for negative, item_id, payload in found[:wanted]]
            answers.append([hit for hit in hits if threshold is None or hit.score >= threshold])
        return answers

    def _result(self, hits: list[list[Hit]]) -> SearchResult:
        return SearchResult(hits, self._index.name, self._index.exact)

    # Encoders

    def teacher_path(self) -> Path | None:
        """The teacher's file, where the gallery keeps one."""
        return self.encoders.facts.teacher_file

    def encoder_file(self, encoder_id: str) -> Path:
        """The file of an encoder by id. Raises Refusal (unknown-encoder, encoder-not-admitted)."""
        return self.encoders.facts.file(encoder_id)

    def admitted_encoders(self) -> list[str]:
        """The ids of the encoders whose queries this gallery answers, newest first; its teacher among them."""
        return self.encoders.facts.admitted

    def keep_encoder(self, file: EncoderFile, content: bytes, report: AdmissionReport | None) -> EncoderDescription:
        """Keep an encoder that was admitted, or the teacher. Raises Refusal (encoder-conflict)."""
        self.encoders.check_identity(file)
        self.encoders.write_file(file, content)
        return self.encoders.keep(file, report)

    def threshold_for(self, encoder: str | None, max_false_match: float) -> float:
        """The score that a share of `max_false_match` of this encoder's unmatched queries would still reach."""
        return self.encoders.facts.threshold_for(encoder, max_false_match)

    def all_vectors(self) -> tuple[Labels, Vectors]:
        """Every label and its stored vector, by label: int64 [n], float32 [n, D]."""
        batches = list(self.store.vectors_after(0, self.dim))
        if not batches:
            return np.empty(0, dtype=np.int64), np.empty((0, self.dim), dtype=np.float32)
        return np.concatenate([labels for labels, _ in batches]), np.concatenate([v for _, v in batches])

    def _open_index(self) -> tuple[VectorIndex, int]:
        """The saved index brought up to date, or one built anew from the database."""
        index, sequence = load_index(self._index_folder, self.dim) or (FaissExactIndex.empty(self.dim), 0)
        if sequence > self.store.sequence:
            index, sequence = FaissExactIndex.empty(self.dim), 0
        index.remove(self.store.removed_after(sequence))
        for labels, vectors in self.store.vectors_after(sequence, self.dim):
            index.add(labels, vectors)
        if len(index) != self.store.counts()[0]:
            index, sequence = FaissExactIndex.empty(self.dim), 0
            for labels, vectors in self.store.vectors_after(0, self.dim):
                index.add(labels, vectors)
        return index, sequence

    def _unknown_item(self, item_id: str) -> Refusal:
        return Refusal(ProblemKind.UNKNOWN_ITEM, f"Gallery {self.name!r} has no item {item_id[:200]!r}.")


def _item(row: ItemRow, with_vector: bool) -> Item:
    return Item(
        id=row.id,
        payload=row.payload,
        has_photo=row.photo is not None,
        photo_sha256=None if row.photo is None else Path(row.photo).stem,
        vector=base64.b64encode(row.vector).decode() if with_vector else None,
        dtype="f16le" if with_vector else None,
    )


def _write_cursor(item_id: str) -> str:
    return base64.urlsafe_b64encode(item_id.encode()).decode().rstrip("=")


def _read_cursor(cursor: str | None) -> str:
    if cursor is None:
        return ""
    try:
        return base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
    except ValueError:
        raise Refusal(
            ProblemKind.VALIDATION,
            "Expected the next_cursor of an earlier page as cursor. Begin again without one.",
        ) from None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")
