"""Each row of the table of filters in docs/api.md, on a real gallery, evaluated over columns and payload by payload."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter

from askew_client.contract.filters.conditions import Filter
from askew_server.storage.filtering import payload_columns
from askew_server.storage.filtering.filters import PayloadFilter
from askew_server.storage.items import ItemBatch, SqliteItemStore
from askew_server.storage.reader import GalleryReader
from tests.support.paths import ROOT

FILTER: TypeAdapter[Filter] = TypeAdapter(Filter)
ROW = re.compile(r"\| [^|]*\| `(\{[^|]*\})` \| ([^|]+) \| ([^|]+) \|")


def _rows() -> Iterator[Any]:
    for line in (ROOT / "docs" / "api.md").read_text().splitlines():
        if match := ROW.fullmatch(line):
            condition, *sides = match.groups()
            yield pytest.param(condition, *(re.findall(r"`([^`]*)`", side) for side in sides), id=condition)


ROWS = list(_rows())


def test_the_table_has_all_its_rows() -> None:
    assert len(ROWS) == 21


@pytest.mark.parametrize("columns", [16, 0], ids=["columns", "payload by payload"])
@pytest.mark.parametrize(("condition", "admitted", "others"), ROWS)
def test_a_row_holds(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    condition: str,
    admitted: list[str],
    others: list[str],
    columns: int,
) -> None:
    monkeypatch.setattr(payload_columns, "MAX_FIELDS", columns)
    assert admitted
    assert others
    payloads = [*admitted, *others]
    store = SqliteItemStore(tmp_path / "gallery")
    store.begin({"dim": "8"})
    # Payloads of every type, so that the filter is not refused for its own.
    texts = [json.dumps(json.loads(payload)) for payload in payloads]
    store.upsert(ItemBatch([f"{n}" for n in range(len(texts))], np.zeros((len(texts), 8), dtype=np.float16), texts))
    reader = GalleryReader.open(store.folder)
    found = PayloadFilter(reader).select(FILTER.validate_json(condition)).labels
    reader.close()
    store.close()
    assert found.tolist() == list(range(1, len(admitted) + 1))
