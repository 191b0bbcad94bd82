"""Measurements of the demo's photos: real encoders, real rankings, few photos."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from askew_client.encoding.encoder import Encoder
from askew_client.metrics import average_precision
from askew_training.evaluate.measurement import Found, Measurement, QueryResult, Side
from tests.support.paths import DEMO


def measure_demo(
    queries: Path, gallery: Path, photos: int, settings: dict[str, str | float | bool] | None = None
) -> Measurement:
    """Search the demo's five queries among so many of its photos. Ids are paths below demo/.

    `queries`, `gallery`: encoder files.
    """
    query_photos = sorted((DEMO / "queries").glob("*.jpg"))
    wanted = {path.name for path in query_photos}
    found = sorted((DEMO / "gallery").glob("*.jpg"), key=lambda path: (path.name not in wanted, path.name))[:photos]
    query_encoder, gallery_encoder = Encoder(queries), Encoder(gallery)
    vectors = _describe(gallery_encoder, found)
    results = [
        _result(path, vector, found, vectors)
        for path, vector in zip(query_photos, _describe(query_encoder, query_photos), strict=True)
    ]
    return Measurement(
        dataset="demo",
        protocol="instances",
        queries=_side(queries, query_encoder),
        gallery=_side(gallery, gallery_encoder),
        gallery_photos=len(found),
        settings=settings or {},
        results=tuple(results),
    )


def _describe(encoder: Encoder, photos: Sequence[Path]) -> np.ndarray:
    return np.stack([encoder.encode(photo) for photo in photos])


def _result(query: Path, vector: np.ndarray, photos: Sequence[Path], vectors: np.ndarray) -> QueryResult:
    scores = vectors @ vector
    order = np.argsort(-scores, kind="stable")
    ranks = np.flatnonzero([photos[place].name == query.name for place in order])
    return QueryResult(
        id=f"queries/{query.name}",
        instance=query.stem,
        set_name="landmarks",
        positives=1,
        average_precision=average_precision(ranks, 1),
        precision={1: float(ranks[0] == 0), 5: float(ranks[0] < 5) / 5},
        first=tuple(
            Found(
                id=f"gallery/{photos[place].name}",
                score=float(np.clip(scores[place], -1, 1)),
                relevance="right" if photos[place].name == query.name else "wrong",
            )
            for place in order[:10]
        ),
    )


def _side(path: Path, encoder: Encoder) -> Side:
    manifest = encoder.manifest
    return Side(
        encoder=manifest.encoder_id,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        space_id=manifest.space_id,
        dim=manifest.dim,
        photo_size=manifest.photo_size,
        scales=tuple(manifest.scales),
        recipe=manifest.recipe,
    )
