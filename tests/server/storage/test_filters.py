"""Filters over columns admit the same items as SQL over the payloads, after any writes and deletions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from askew_client.contract.filters import Filter, Not
from askew_server.errors import Refusal
from askew_server.storage.filters import PayloadFilter
from askew_server.storage.items import ItemBatch, ItemStore, StoredItem
from askew_server.storage.payload_columns import MAX_FIELDS
from askew_server.storage.reader import GalleryReader

FILTER: TypeAdapter[Filter] = TypeAdapter(Filter)
VALUES = [1, 2, 2.0, 2.5, -3, 0, True, False, "1", "2", "", "ä'\"", 10**15]
PAYLOADS = [
    {"mixed": VALUES[n % len(VALUES)], "deep": {"er": n % 7}, "odd": n % 2 == 1}
    | ({"rare": None if n % 9 else [n]} if n % 3 == 0 else {})
    | ({"float": n / 4} if n % 5 else {})
    for n in range(200)
]
FIELDS = ["mixed", "deep.er", "deep", "odd", "rare", "float", "nowhere"]


def _item(n: int, payload: dict[str, object]) -> StoredItem:
    return StoredItem(f"item-{n}", np.eye(1, 8, n % 8, dtype=np.float32)[0], payload)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ItemStore]:
    store = ItemStore(tmp_path_factory.mktemp("filters") / "gallery")
    store.begin({"dim": "8"})
    yield store
    store.close()


@pytest.fixture(scope="module")
def payload_filter(store: ItemStore) -> Iterator[PayloadFilter]:
    """A filter whose columns lived through writes, replacements and deletions."""
    reader = GalleryReader.open(store.folder)
    payload_filter = PayloadFilter(reader)
    for start in range(0, 200, 50):
        store.upsert(ItemBatch.of([_item(n, PAYLOADS[n]) for n in range(start, start + 50)]))
        payload_filter.labels(FILTER.validate_python({"field": FIELDS[start // 50], "exists": True}))
    store.upsert(ItemBatch.of([_item(n, PAYLOADS[(n + 1) % 200]) for n in range(0, 200, 11)]))
    store.delete([f"item-{n}" for n in range(0, 200, 13)])
    yield payload_filter
    reader.close()


def _held(store: ItemStore, labels: np.ndarray) -> list[int]:
    """Those of these labels that items have: columns may name some that are gone."""
    return sorted(set(labels.tolist()) & set(store.labels().tolist()))


_SCALARS = st.sampled_from([*VALUES, 3, "nothing"])
_LEAVES = st.one_of(
    st.builds(lambda field, value: {"field": field, "eq": value}, st.sampled_from(FIELDS), _SCALARS),
    st.builds(
        lambda field, values: {"field": field, "in": values},
        st.sampled_from(FIELDS),
        st.lists(_SCALARS, min_size=1, max_size=4),
    ),
    st.builds(
        lambda field, bounds: {"field": field, "range": bounds},
        st.sampled_from(FIELDS),
        st.dictionaries(st.sampled_from(["gt", "gte", "lt", "lte"]), st.sampled_from([-1, 0, 2, 2.25, 30]), min_size=1),
    ),
    st.builds(lambda field, exists: {"field": field, "exists": exists}, st.sampled_from(FIELDS), st.booleans()),
)
_CONDITIONS = st.recursive(
    _LEAVES,
    lambda parts: st.one_of(
        st.builds(lambda part: {"not": part}, parts),
        st.builds(lambda listed: {"and": listed}, st.lists(parts, min_size=1, max_size=3)),
        st.builds(lambda listed: {"or": listed}, st.lists(parts, min_size=1, max_size=3)),
    ),
    max_leaves=6,
)


@pytest.mark.slow
@given(_CONDITIONS)
def test_columns_admit_the_same_items_as_sql(
    store: ItemStore, payload_filter: PayloadFilter, condition: dict[str, object]
) -> None:
    parsed = FILTER.validate_python(condition)
    try:
        allowed = payload_filter.labels(parsed)
    except Refusal as refusal:
        assert "Types are not converted" in str(refusal)
        with pytest.raises(Refusal, match="Types are not converted"):
            payload_filter.sql(parsed)
        return
    by_sql = payload_filter.sql(parsed)
    assert _held(store, allowed) == store.labels_where(by_sql).tolist()
    assert store.count_where(by_sql) == len(_held(store, allowed))
    assert np.all(allowed[1:] > allowed[:-1])


@pytest.mark.parametrize("way", ["labels", "sql"])
def test_a_filter_of_nine_levels_is_refused_for_searches_and_for_sql(payload_filter: PayloadFilter, way: str) -> None:
    condition: Filter = FILTER.validate_python({"field": "odd", "eq": True})
    for _ in range(7):
        condition = Not.model_construct(negated=condition)
    getattr(payload_filter, way)(condition)
    with pytest.raises(Refusal, match="at most 8 levels"):
        getattr(payload_filter, way)(Not.model_construct(negated=condition))


def test_a_write_is_seen_by_the_next_filter(tmp_path: Path) -> None:
    store = ItemStore(tmp_path / "gallery")
    store.begin({"dim": "8"})
    payload_filter = PayloadFilter(GalleryReader.open(store.folder))
    condition = FILTER.validate_python({"field": "n", "eq": 5})
    assert payload_filter.labels(condition).tolist() == []
    change = store.upsert(ItemBatch.of([_item(5, {"n": 5}), _item(6, {"n": 6})]))
    assert payload_filter.labels(condition).tolist() == change.added[:1].tolist()
    change = store.upsert(ItemBatch.of([_item(6, {"n": 5})]))
    assert payload_filter.labels(condition).tolist() == [1, *change.added.tolist()]


@pytest.mark.parametrize(
    "payloads",
    [
        [{"id": 2**60 + n} for n in range(3)],
        [{"id": n} for n in range(3)] + [{"id": 2**60 + n} for n in range(3)],
    ],
    ids=["from the beginning", "later"],
)
def test_integers_beyond_float64_are_distinguished(tmp_path: Path, payloads: list[dict[str, object]]) -> None:
    store = ItemStore(tmp_path / "gallery")
    store.begin({"dim": "8"})
    payload_filter = PayloadFilter(GalleryReader.open(store.folder))
    for n, payload in enumerate(payloads):
        store.upsert(ItemBatch.of([_item(n, payload)]))
        condition = FILTER.validate_python({"field": "id", "eq": payload["id"]})
        assert payload_filter.labels(condition).tolist() == [n + 1]


def test_more_fields_than_columns_are_kept(tmp_path: Path) -> None:
    store = ItemStore(tmp_path / "gallery")
    store.begin({"dim": "8"})
    payload_filter = PayloadFilter(GalleryReader.open(store.folder))
    store.upsert(ItemBatch.of([_item(n, {f"f{field}": n for field in range(3 * MAX_FIELDS)}) for n in range(20)]))
    for field in [*range(3 * MAX_FIELDS), 0, 1]:
        condition = FILTER.validate_python({"field": f"f{field}", "range": {"lt": 2}})
        assert payload_filter.labels(condition).tolist() == [1, 2]
    wide = {"and": [{"field": f"f{field}", "eq": 3} for field in range(MAX_FIELDS + 2)]}
    assert payload_filter.labels(FILTER.validate_python(wide)).tolist() == [4]
