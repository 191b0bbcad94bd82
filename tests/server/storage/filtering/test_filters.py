"""A filter means one thing, however it is evaluated and whatever it is for.

The meaning is written down once more here, as plain Python on the parsed JSON, and compared with listing, counting,
deletion and the labels of searches, over columns and payload by payload, after any writes and deletions.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from askew_client.contract.filters.conditions import Filter, Not
from askew_client.contract.filters.field_paths import field_path
from askew_server.errors import Refusal
from askew_server.gallery.items import count_items, read_page
from askew_server.storage.filtering import filters, payload_columns
from askew_server.storage.filtering.filters import PayloadFilter
from askew_server.storage.filtering.payload_columns import MAX_FIELDS
from askew_server.storage.items import ItemBatch, SqliteItemStore
from askew_server.storage.reader import GalleryReader

FILTER: TypeAdapter[Filter] = TypeAdapter(Filter)

KEYS = ["a", "a\\b", "a.b", 'say "x"', "[0]", "", "n\x00ul", "n", "é", "é", "it's", "$", "a b ", "c"]
NUMBERS = [
    *(0, 1, -1, 1.0, -0.0, 0.5, 1e300, 5e-324, 2011, 2**53 - 1, 2**53, 2**53 + 1, -(2**53) - 1, float(2**53)),
    *(2**60, 2**63 - 1, 2**63, 2**64, 2**64 + 1, float(2**64), -(2**70), 10**40, 10**400),
]
TEXTS = ["", "a", "a\x00b", "a\x00", "A", "é", "é", "1", "true", "null", "😀", "'", '"', "\\", "%", "a\nb"]
DATES = [
    *("2011", "2011-05", "2011-05-01", "2011-05-01T00:00:00Z", "2011-05-01T02:00+02:00", "2011-04-30 22:00:00-0200"),
    *("2011-05-01T12:30:00.123456789Z", "2011-05-01T12:30:00,123456788", "0001-01-01", "9999-12-31T23:59:59Z"),
    *("2011-13-01", "2011-02-30", "20110501", "2011-05-01T24:00", "2011-05-01Z", " 2011", "2011-W05", "٢٠١١"),
]
SCALARS = [*NUMBERS, *TEXTS, *DATES, True, False]


# The meaning, once more.


def admits(payload: dict[str, Any], condition: dict[str, Any]) -> bool:
    if "and" in condition:
        return all(admits(payload, each) for each in condition["and"])
    if "or" in condition:
        return any(admits(payload, each) for each in condition["or"])
    if "not" in condition:
        return not admits(payload, condition["not"])
    found = values_at(payload, condition["keys"])
    if "exists" in condition:
        return bool(found) == condition["exists"]
    compared = [element for value in found for element in (value if isinstance(value, list) else [value])]
    if "range" in condition:
        return any(is_within(value, condition["range"]) for value in compared)
    wanted = [condition["eq"]] if "eq" in condition else condition["in"]
    return any(is_same(value, each) for value in compared for each in wanted)


def values_at(payload: Any, keys: Sequence[str]) -> list[Any]:
    """The one value at a path, or none."""
    for key in keys:
        if not isinstance(payload, dict) or key not in payload:
            return []
        payload = payload[key]
    return [payload]


def is_same(value: Any, wanted: Any) -> bool:
    return kind_of(value) == kind_of(wanted) and value == wanted


def is_within(value: Any, bounds: dict[str, Any]) -> bool:
    if any(isinstance(bound, str) for bound in bounds.values()):
        value, bounds = moment_of(value), {name: moment_of(bound) for name, bound in bounds.items()}
        if value is None:
            return False
    elif kind_of(value) != "number":
        return False
    tests = {"gt": lambda a, b: a > b, "gte": lambda a, b: a >= b, "lt": lambda a, b: a < b, "lte": lambda a, b: a <= b}
    return all(tests[name](value, bound) for name, bound in bounds.items())


def moment_of(value: Any) -> tuple[datetime, int] | None:
    """Of the dates above only: their list says which are dates, and here is what they mean."""
    days = {text: text + "2011-01-01"[len(text) :] for text in ("2011", "2011-05")}
    if value not in DATES[:10]:
        return None
    text = days.get(value, value).replace(",", ".").replace("Z", "+00:00").replace(" ", "T").replace("-0200", "-02:00")
    whole, _, rest = text.partition(".")
    moment = datetime.fromisoformat(whole + rest[9:])
    utc = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return utc, int(rest[:9] or 0)


def kind_of(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    return "text" if isinstance(value, str) else "other"


def kinds_at(payloads: list[dict[str, Any]], keys: Sequence[str]) -> set[str]:
    found = [value for payload in payloads for value in values_at(payload, keys)]
    compared = [element for value in found for element in (value if isinstance(value, list) else [value])]
    return {kind_of(value) for value in compared} - {"other"}


def leaves(condition: dict[str, Any]) -> list[dict[str, Any]]:
    parts = condition.get("and") or condition.get("or") or ([condition["not"]] if "not" in condition else None)
    return [condition] if parts is None else [leaf for part in parts for leaf in leaves(part)]


def is_refused(payloads: list[dict[str, Any]], condition: dict[str, Any]) -> bool:
    for leaf in leaves(condition):
        wanted: list[Any] = [leaf["eq"]] if "eq" in leaf else leaf.get("in", list(leaf.get("range", {}).values()))
        kinds = kinds_at(payloads, leaf["keys"])
        if kinds and not {kind_of(value) for value in wanted} <= kinds:
            return True
    return False


def as_sent(condition: dict[str, Any]) -> Filter:
    """The condition with paths for keys, as a client writes it."""

    def written(each: Any) -> Any:
        if isinstance(each, dict):
            return {
                ("field" if name == "keys" else name): (field_path(*value) if name == "keys" else written(value))
                for name, value in each.items()
            }
        return [written(value) for value in each] if isinstance(each, list) else each

    return FILTER.validate_json(json.dumps(written(condition)))


# Payloads and conditions at random.

_scalars = st.one_of(
    st.sampled_from(SCALARS),
    st.text(max_size=3),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
)
_values = st.recursive(
    st.one_of(_scalars, st.none()),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.sampled_from(KEYS), inner, min_size=1, max_size=3)
    ),
    max_leaves=8,
)
_payloads = st.dictionaries(st.sampled_from(KEYS), _values, max_size=5)


def _conditions(payloads: list[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    """Conditions on paths and values that occur, mostly, so that they decide something."""
    occurring = [place for payload in payloads for place in _places(payload)]
    path = st.sampled_from([(key,) for key in KEYS])
    if occurring:
        path = st.one_of(st.sampled_from([keys for keys, _ in occurring]), path)
    values = [value for _, value in occurring if kind_of(value) != "other"]
    scalar = st.one_of(st.sampled_from(values), _scalars) if values else _scalars
    bound = st.one_of(
        st.dictionaries(st.sampled_from(["gt", "gte", "lt", "lte"]), st.sampled_from(NUMBERS), min_size=1, max_size=2),
        st.dictionaries(
            st.sampled_from(["gt", "gte", "lt", "lte"]), st.sampled_from(DATES[:10]), min_size=1, max_size=2
        ),
    )
    leaf = st.one_of(
        st.fixed_dictionaries({"keys": path, "eq": scalar}),
        st.fixed_dictionaries({"keys": path, "in": st.lists(scalar, min_size=1, max_size=4)}),
        st.fixed_dictionaries({"keys": path, "range": bound}),
        st.fixed_dictionaries({"keys": path, "exists": st.booleans()}),
    )
    same = [{"keys": keys, "eq": value} for keys, value in occurring if kind_of(value) != "other"]
    if same:
        leaf = st.one_of(leaf, st.sampled_from(same))
    return st.recursive(
        leaf,
        lambda parts: st.one_of(
            st.fixed_dictionaries({"not": parts}),
            st.fixed_dictionaries({"and": st.lists(parts, min_size=1, max_size=3)}),
            st.fixed_dictionaries({"or": st.lists(parts, min_size=1, max_size=3)}),
        ),
        max_leaves=4,
    )


def _places(value: Any, keys: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every path in a payload with its value, and with each element of a list."""
    if keys:
        yield from ((keys, each) for each in (value if isinstance(value, list) else [value]))
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _places(inner, (*keys, key))


_cases = st.lists(_payloads, min_size=1, max_size=8).flatmap(
    lambda payloads: st.tuples(st.just(payloads), st.lists(_conditions(payloads), min_size=1, max_size=4))
)


# Real galleries.


class FilteredGallery:
    """A gallery with a filter, and what its items should hold."""

    def __init__(self, folder: Path) -> None:
        self.store = SqliteItemStore(folder)
        self.store.begin({"dim": "8"})
        self.reader = GalleryReader.open(folder)
        self.filter = PayloadFilter(self.reader)
        self.held: dict[str, dict[str, Any]] = {}

    def write(self, payloads: dict[str, dict[str, Any]]) -> None:
        if payloads:
            self.store.upsert(batch_of(payloads))
            self.held |= payloads

    def delete(self, ids: list[str]) -> None:
        self.store.delete(ids)
        self.held = {item_id: payload for item_id, payload in self.held.items() if item_id not in ids}

    def searched(self, condition: Filter) -> list[str]:
        """The ids of the items that a search may find: columns may name labels whose items are gone."""
        labels = self.filter.select(condition).labels
        assert np.all(labels[1:] > labels[:-1])
        return sorted(item_id for _, item_id, _ in self.reader.payloads(labels.tolist()))

    def listed(self, condition: Filter, limit: int = 2) -> list[str]:
        ids, cursor = [], None
        while True:
            with self.reader.snapshot():
                selection = self.filter.select(condition)
                page = read_page(self.reader, cursor, limit, selection, with_vectors=False)
            ids += [item.id for item in page.items]
            cursor = page.next_cursor
            if cursor is None:
                return ids

    def counted(self, condition: Filter) -> int:
        answer = count_items(self.reader, self.filter, condition=condition)
        assert answer.unknown_fields == self.filter.select(condition).unknown_fields
        return answer.count

    def close(self) -> None:
        self.reader.close()
        self.store.close()


def batch_of(payloads: dict[str, dict[str, Any]]) -> ItemBatch:
    vectors = np.tile(np.eye(1, 8, dtype=np.float16), (len(payloads), 1))
    return ItemBatch(list(payloads), vectors, [json.dumps(payload) for payload in payloads.values()])


@pytest.fixture
def gallery(tmp_path: Path) -> Iterator[FilteredGallery]:
    gallery = FilteredGallery(tmp_path / "gallery")
    yield gallery
    gallery.close()


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Path]:
    """Fresh folders for the examples of one test."""
    count = iter(range(1_000_000))
    top = tmp_path_factory.mktemp("filters")
    return lambda: top / str(next(count))


@pytest.mark.slow
@pytest.mark.parametrize("way", ["columns", "payload by payload"])
@settings(max_examples=60, deadline=None)
@given(case=_cases, data=st.data())
def test_all_uses_admit_what_plain_python_admits(
    folders: Callable[[], Path], way: str, case: tuple[list[dict[str, Any]], list[dict[str, Any]]], data: st.DataObject
) -> None:
    payloads, conditions = case
    gallery = FilteredGallery(folders())
    with pytest.MonkeyPatch.context() as patch:
        if way == "payload by payload":
            patch.setattr(payload_columns, "MAX_FIELDS", 0)
        try:
            # The columns live through writes, replacements and deletions.
            middle = len(payloads) // 2
            gallery.write({f"item-{n}": payload for n, payload in enumerate(payloads[:middle])})
            for condition in conditions:
                check_all_uses(gallery, condition)
            gallery.write(
                {f"item-{n}": payload for n, payload in enumerate(payloads[middle:], data.draw(st.integers(0, 4)))}
            )
            gallery.delete(data.draw(st.lists(st.sampled_from([f"item-{n}" for n in range(8)]), max_size=2)))
            for condition in conditions:
                check_all_uses(gallery, condition)
            check_deletion(gallery, conditions[0])
        finally:
            gallery.close()


def check_all_uses(gallery: FilteredGallery, condition: dict[str, Any]) -> None:
    sent, payloads = as_sent(condition), list(gallery.held.values())
    if is_refused(payloads, condition):
        for use in (gallery.searched, gallery.listed, gallery.counted):
            with pytest.raises(Refusal, match="Types are not converted"):
                use(sent)
        return
    expected = sorted(item_id for item_id, payload in gallery.held.items() if admits(payload, condition))
    assert gallery.searched(sent) == expected
    assert gallery.listed(sent) == expected
    assert gallery.counted(sent) == len(expected)
    unknown = {
        field_path(*leaf["keys"]) for leaf in leaves(condition) if not any(values_at(p, leaf["keys"]) for p in payloads)
    }
    assert set(gallery.filter.select(sent).unknown_fields) == unknown


def check_deletion(gallery: FilteredGallery, condition: dict[str, Any]) -> None:
    sent = as_sent(condition)
    if is_refused(list(gallery.held.values()), condition):
        with pytest.raises(Refusal, match="Types are not converted"):
            gallery.store.delete_selected(gallery.filter.select(sent))
        assert {row.id for row in gallery.store.page("", 100)} == set(gallery.held)
        return
    counted = gallery.counted(sent)
    change, _ = gallery.store.delete_selected(gallery.filter.select(sent))
    assert len(change.removed) == counted
    assert gallery.counted(sent) == 0
    kept = {item_id for item_id, payload in gallery.held.items() if not admits(payload, condition)}
    assert {row.id for row in gallery.store.page("", 100)} == kept


# Single behaviours.


def test_a_write_between_selection_and_deletion_counts(gallery: FilteredGallery) -> None:
    condition = FILTER.validate_python({"field": "n", "eq": 5})
    gallery.write({"now-five": {"n": 5}, "no-more": {"n": 5}, "stays": {"n": 6}})
    selection = gallery.filter.select(condition)
    gallery.write({"no-more": {"n": 6}, "later": {"n": 5}, "later-other": {"n": 7}})
    change, unknown = gallery.store.delete_selected(selection)
    assert len(change.removed) == 2
    assert unknown == []
    assert [row.id for row in gallery.store.page("", 10)] == ["later-other", "no-more", "stays"]


def test_a_deletion_is_refused_if_a_write_since_its_selection_gives_the_field_another_type(
    gallery: FilteredGallery,
) -> None:
    selection = gallery.filter.select(FILTER.validate_python({"not": {"field": "year", "eq": 2011}}))
    gallery.write({"item": {"year": "2011"}})
    with pytest.raises(Refusal, match="Types are not converted"):
        gallery.store.delete_selected(selection)
    assert [row.id for row in gallery.store.page("", 10)] == ["item"]


@pytest.mark.parametrize("matching", [3, 1_300])
def test_a_count_leaves_out_what_was_deleted_since_the_columns_were_read(
    gallery: FilteredGallery, matching: int
) -> None:
    condition = FILTER.validate_python({"field": "n", "range": {"lt": matching}})
    gallery.write({f"{n}": {"n": n} for n in range(2_000)})
    assert gallery.counted(condition) == matching
    gallery.delete(["0", "2", "1999"])
    assert gallery.counted(condition) == matching - 2
    assert len(gallery.filter.select(condition).labels) == matching
    assert count_items(gallery.reader, gallery.filter).count == 1_997
    assert count_items(gallery.reader, gallery.filter, ["0", "1", "1", "none"]).count == 1


def test_a_filter_of_nine_levels_is_refused(gallery: FilteredGallery) -> None:
    condition: Filter = FILTER.validate_python({"field": "odd", "eq": True})
    for _ in range(7):
        condition = Not.model_construct(negated=condition)
    gallery.filter.select(condition)
    with pytest.raises(Refusal, match="at most 8 levels"):
        gallery.filter.select(Not.model_construct(negated=condition))


def test_a_write_is_seen_by_the_next_filter(gallery: FilteredGallery) -> None:
    condition = FILTER.validate_python({"field": "n", "eq": 5})
    assert gallery.searched(condition) == []
    assert gallery.filter.select(condition).unknown_fields == ["n"]
    gallery.write({"five": {"n": 5}, "six": {"n": 6}})
    assert gallery.searched(condition) == ["five"]
    assert gallery.filter.select(condition).unknown_fields == []
    gallery.write({"six": {"n": 5}})
    assert gallery.searched(condition) == ["five", "six"]


def test_a_field_whose_last_item_is_gone_is_unknown_and_takes_any_type(gallery: FilteredGallery) -> None:
    condition = FILTER.validate_python({"field": "n", "eq": 5})
    gallery.write({f"{n}": {"n": n} for n in range(1_200)} | {"other": {"m": 1}})
    assert gallery.filter.select(condition).unknown_fields == []
    gallery.delete([f"{n}" for n in range(1, 1_200)])
    assert gallery.filter.select(condition).unknown_fields == []
    with pytest.raises(Refusal, match="Types are not converted"):
        gallery.filter.select(FILTER.validate_python({"field": "n", "eq": "5"}))
    gallery.write({"0": {"m": 2}})
    assert gallery.filter.select(condition).unknown_fields == ["n"]
    assert gallery.searched(FILTER.validate_python({"field": "n", "eq": "5"})) == []


@pytest.mark.parametrize(
    "payloads",
    [
        [{"id": 2**60 + n} for n in range(3)],
        [{"id": n} for n in range(3)] + [{"id": 2**60 + n} for n in range(3)],
        [{"id": [n]} for n in range(3)] + [{"id": [2**70 + n]} for n in range(3)],
    ],
    ids=["from the beginning", "later", "in lists"],
)
def test_integers_beyond_float64_are_distinguished(gallery: FilteredGallery, payloads: list[dict[str, Any]]) -> None:
    for n, payload in enumerate(payloads):
        gallery.write({f"{n}": payload})
        value = payload["id"][0] if isinstance(payload["id"], list) else payload["id"]
        assert gallery.searched(FILTER.validate_python({"field": "id", "eq": value})) == [f"{n}"]


def test_a_field_with_too_many_texts_is_read_from_the_payloads(
    gallery: FilteredGallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(payload_columns, "MAX_CODES", 10)
    gallery.write({f"{n:02}": {"title": f"t{n}", "n": n} for n in range(30)})
    assert gallery.searched(FILTER.validate_python({"field": "title", "in": ["t7", "t29"]})) == ["07", "29"]
    both = FILTER.validate_python({"and": [{"field": "title", "eq": "t7"}, {"field": "n", "eq": 7}]})
    assert gallery.searched(both) == ["07"]
    with pytest.raises(Refusal, match="Types are not converted"):
        gallery.searched(FILTER.validate_python({"field": "title", "eq": 7}))


def test_columns_that_are_too_large_together_make_room_for_those_in_use(
    gallery: FilteredGallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(payload_columns, "MAX_CODES_IN_ALL", 50)
    gallery.write({f"{n:02}": {"a": f"a{n}", "b": f"b{n}", "c": f"c{n % 20}"} for n in range(40)})
    for _ in range(2):
        for field in "abc":
            assert gallery.searched(FILTER.validate_python({"field": field, "eq": f"{field}7"}))[0] == "07"
    both = {"and": [{"field": "a", "eq": "a7"}, {"field": "b", "eq": "b7"}, {"field": "c", "eq": "c7"}]}
    assert gallery.searched(FILTER.validate_python(both)) == ["07"]
    gallery.write({"40": {"a": "a7", "b": "b7", "c": "c7"}})
    assert gallery.searched(FILTER.validate_python(both)) == ["07", "40"]


def test_more_fields_than_columns_are_kept(gallery: FilteredGallery) -> None:
    gallery.write({f"{n:02}": {f"f{field}": n for field in range(3 * MAX_FIELDS)} for n in range(20)})
    for field in [*range(3 * MAX_FIELDS), 0, 1]:
        condition = FILTER.validate_python({"field": f"f{field}", "range": {"lt": 2}})
        assert gallery.searched(condition) == ["00", "01"]
    wide = {"and": [{"field": f"f{field}", "eq": 3} for field in range(MAX_FIELDS + 2)]}
    assert gallery.searched(FILTER.validate_python(wide)) == ["03"]


def test_a_filter_that_would_take_too_long_payload_by_payload_is_refused(
    gallery: FilteredGallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filters, "MAX_TESTS_IN_SCAN", 100)
    gallery.write({f"{n}": {"n": n} for n in range(10)})
    wide = FILTER.validate_python({"or": [{"field": f"f{field}", "eq": 3} for field in range(MAX_FIELDS + 2)]})
    with pytest.raises(Refusal, match="Use at most 10 conditions"):
        gallery.filter.select(wide)


def test_pages_of_few_and_of_many_are_in_the_order_of_ids(gallery: FilteredGallery) -> None:
    gallery.write({f"{(7 * n) % 1_000:03}": {"n": n, "kind": n % 2} for n in range(1_000)})
    for bounds in ({"lt": 3}, {"lt": 300}, {"gte": 0}):
        condition = FILTER.validate_python({"field": "n", "range": bounds})
        ids = gallery.listed(condition, limit=7)
        assert ids == gallery.searched(condition)


def test_infinite_and_odd_numbers_of_other_writers_do_not_differ_between_the_ways(
    gallery: FilteredGallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = ['{"n": 1e999}', '{"n": -1e999}', '{"n": 1, "n": 2}', '{"n": "\\ud800"}', ' {"n": 3} ', '{"n": NaN}']
    vectors = np.tile(np.eye(1, 8, dtype=np.float16), (len(texts), 1))
    gallery.store.upsert(ItemBatch([str(n) for n in range(len(texts))], vectors, texts))
    conditions = [
        *({"field": "n", "range": {bound: value}} for bound in ("gt", "lte") for value in (2, 10**400, -(10**400))),
        *({"field": "n", "eq": value} for value in (1, 2, 3, "\ud800")),
    ]
    parsed = [FILTER.validate_python(condition) for condition in conditions[:-1]]
    by_columns = [gallery.searched(condition) for condition in parsed]
    monkeypatch.setattr(payload_columns, "MAX_FIELDS", 0)
    assert by_columns == [gallery.searched(condition) for condition in parsed]
    assert by_columns[6:9] == [[], ["2"], ["4"]]
    assert math.isinf(gallery.reader.page("", 1)[0].payload["n"])  # type: ignore[arg-type]
