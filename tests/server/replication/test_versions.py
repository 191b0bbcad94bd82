"""Which versions of Askew may be a primary and its replica, and what must not change while they may."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from askew_server.http.routes import replication as routes
from askew_server.replication import wire
from askew_server.replication.catalog_copy import _COPIED_FACTS
from askew_server.replication.follower import CannotFollow
from askew_server.replication.record import Epoch, Fence, GalleryMark
from askew_server.replication.source import PrimaryRefused
from askew_server.replication.tables import NEWEST, RANGE_BITS
from askew_server.replication.wire import (
    FORMAT,
    Beside,
    ChangePage,
    GalleryState,
    ItemLine,
    KeyRow,
    LabelList,
    PrimaryState,
    RangeSummary,
    Summary,
    is_understood,
)
from askew_server.storage.checksums import item_checksum, vector_checksum
from askew_server.storage.items import LAYOUT, StoredItem
from tests.support.gallery_files import unit_vector, write_gallery
from tests.support.replicas import InProcessPrimary, InProcessReplica, contents

FEED = {1: "21e4319abba6ab96b275e0bf51d71768"}
"""By the number of each feed that was released, what it consists of."""


@pytest.fixture
def primary(tmp_path: Path, teacher_file: Path) -> Iterator[InProcessPrimary]:
    write_gallery(tmp_path / "primary", "objects", teacher_file, [StoredItem("one", unit_vector(1), {"n": 1})])
    with InProcessPrimary(tmp_path / "primary") as running:
        yield running


@pytest.mark.parametrize(
    ("own", "other", "fits"),
    [
        ("0.2.0", "0.2.0", True),
        ("0.2.0", "0.2.17", True),
        ("0.2.3", "0.2.1", True),
        ("0.2.0.post1", "0.2.0", True),
        ("0.2.0", "0.3.0", False),
        ("0.2.0", "1.2.0", False),
        ("0.2.0", "0.20.0", False),
        ("0.2.0", "0.2.0rc1", False),
        ("0.2.0rc1", "0.2.0", False),
        ("0.2.0rc1", "0.2.0rc1", True),
        ("0.2.0", "0.2", False),
        ("0.2.0", "0.2.0.1", False),
        ("0.2.0", "0.2.1\n", False),
        ("0.2.0", "", False),
    ],
)
def test_versions_that_differ_in_the_last_number_alone_understand_each_other(
    monkeypatch: pytest.MonkeyPatch, own: str, other: str, *, fits: bool
) -> None:
    monkeypatch.setattr(wire, "askew_version", lambda: own)
    assert is_understood(other, FORMAT) is fits
    assert is_understood(other, FORMAT + 1) is False


@pytest.mark.slow
@pytest.mark.parametrize("replicas_own", [True, False])
def test_a_replica_is_upgraded_before_its_primary(
    tmp_path: Path, primary: InProcessPrimary, monkeypatch: pytest.MonkeyPatch, *, replicas_own: bool
) -> None:
    """One of the two has the next version of the same feed, and the replica copies everything; of another one, nothing."""
    module = f"askew_server.replication.{'source' if replicas_own else 'feed'}.askew_version"
    monkeypatch.setattr(wire, "askew_version", lambda: "0.2.0")
    monkeypatch.setattr("askew_server.replication.feed.askew_version", lambda: "0.2.0")
    monkeypatch.setattr("askew_server.replication.source.askew_version", lambda: "0.2.0")
    with InProcessReplica(tmp_path / "replica", primary.http) as replica:
        monkeypatch.setattr(module, lambda: "0.2.1")
        replica.follow()
        assert contents(primary.data) == contents(replica.data)
        monkeypatch.setattr(module, lambda: "0.3.0")
        with pytest.raises((PrimaryRefused, CannotFollow), match=r"0\.3\.0 .*upgrade the replicas first"):
            replica.follower.follow_once(0)
        assert contents(primary.data) == contents(replica.data)


def test_a_feed_that_changes_gets_another_number() -> None:
    """Replicas of the same feed and another version copy it: whatever is different must be told from it.

    If this fails: the feed is another one now. Raise FORMAT (replication/wire.py) if its present number was released, and
    write the new digest here.
    """
    vector = np.array([0.5, -0.25], dtype="<f2").tobytes()
    row = ItemLine(7, "ä", '{"n":1}', None, item_checksum(7, "ä", '{"n":1}', None), vector, vector_checksum(7, vector))
    page = ChangePage(7, 9, [row], np.array([3], dtype=np.int64))
    models = (PrimaryState, GalleryState, KeyRow, Epoch, GalleryMark, Fence, Beside, Summary, RangeSummary, LabelList)
    parts = {
        "models": {
            model.__name__: {name: str(field.annotation) for name, field in model.model_fields.items()}
            for model in models
        },
        "page": page.to_bytes().hex(),
        "photo's checksum": item_checksum(8, "b", "{}", "a" * 64 + ".jpg"),
        "ranges": [RANGE_BITS, NEWEST],
        "facts": _COPIED_FACTS,
        "layout": LAYOUT,
        "calls": sorted(f"{sorted(each.methods)} {each.path}" for each in routes.router.routes),  # type: ignore[attr-defined]
    }
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]
    assert digest == FEED[FORMAT]
