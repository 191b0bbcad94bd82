"""`@askew/client` keeps and searches offline packs as the Python client does."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import struct
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.browser.conftest import open_browser
from tests.browser.scripted_pack_server import ScriptedPackServer
from tests.browser.test_library import Page

pytestmark = pytest.mark.browser

SPACE = "sp1-" + "0" * 32
PART_BYTES = 4_096


@pytest.fixture(scope="module")
def page(url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with open_browser(tmp_path_factory.mktemp("packs") / "profile") as browser:
        browser.driver.get(f"{url}/version")
        browser.driver.get(f"{url}/")
        browser.driver.set_script_timeout(60)
        yield Page(browser)


# Packs of random vectors, made here by the words of docs/offline.md


def make_pack(
    vectors: NDArray[np.float32],
    ids: Sequence[str],
    labels: Sequence[int],
    *,
    sequence: int,
    kind: str = "product",
    size: int = 16,
    thumbnails: Sequence[bytes] | None = None,
    codebooks: int = 0,
    **members: Any,
) -> bytes:
    """A pack file. `size`: bytes of a product code; `codebooks`: the seed of its codebooks; `members`: of the header."""
    items, dim = vectors.shape
    codec, codes, reconstructed = _encode(vectors, kind, size, codebooks)
    scales = 1 / np.maximum(1e-6, np.linalg.norm(reconstructed, axis=1))
    rows = [json.dumps([item, f"Title {item}"], ensure_ascii=False).encode() for item in ids]
    runs = b"".join(struct.pack("<QI", label, 1) for label in labels)
    content = {
        "codec": codec, "labels": runs, "codes": codes, "scales": scales.astype("<f4").tobytes(),
        "row_lengths": np.array([len(row) for row in rows], "<u4").tobytes(), "rows": b"".join(rows),
    }  # fmt: skip
    if thumbnails is not None:
        content["thumbnail_lengths"] = np.array([len(each) for each in thumbnails], "<u4").tobytes()
        content["thumbnails"] = b"".join(thumbnails)
    header = {
        "format": 1, "gallery": "museum", "space": SPACE, "dim": dim, "teacher": "teacher@1", "sequence": sequence,
        "created_at": "2026-11-27T12:00:00Z", "items": items, "fields": ["title"],
        "thumbnail_size": 160 if thumbnails is not None else 0, "recall": None,
        "codec": {"kind": kind, "bytes": size if kind == "product" else dim, "id": hashlib.sha256(codec).hexdigest()},
        **members,
    }  # fmt: skip
    start = 0
    while True:
        offset, header["sections"] = start, []
        for name, data in content.items():
            digest = hashlib.sha256(data).hexdigest()
            header["sections"].append({"name": name, "offset": offset, "size": len(data), "sha256": digest})
            offset += len(data)
        text = json.dumps(header, sort_keys=True, separators=(",", ":")).encode()
        head = b"ASKEWPK1" + struct.pack("<I", len(text)) + text
        if len(head) == start:
            return head + b"".join(content.values())
        start = len(head)


def _encode(vectors: NDArray[np.float32], kind: str, size: int, seed: int) -> tuple[bytes, bytes, NDArray[np.float32]]:
    """The sections codec and codes, and the vectors that the codes stand for."""
    _, dim = vectors.shape
    if kind == "int8":
        signed = np.clip(np.round(vectors * 300), -127, 127).astype(np.int8)
        return b"", signed.tobytes(), signed.astype(np.float32)
    random = np.random.default_rng(seed)
    order = random.permutation(dim)
    starts = np.concatenate([[0], np.sort(random.choice(np.arange(1, dim), size - 1, replace=False)), [dim]])
    reconstructed = np.empty_like(vectors)
    codes = np.empty((len(vectors), size), np.uint8)
    books = []
    for part in range(size):
        dimensions = order[starts[part] : starts[part + 1]]
        book = random.normal(0, dim**-0.5, (256, len(dimensions))).astype(np.float16)
        distances = ((vectors[:, None, dimensions] - book[None].astype(np.float32)) ** 2).sum(axis=2)
        codes[:, part] = distances.argmin(axis=1)
        reconstructed[:, dimensions] = book[codes[:, part]]
        books.append(book.astype("<f2").tobytes())
    return (
        order.astype("<u2").tobytes() + starts.astype("<u4").tobytes() + b"".join(books),
        codes.tobytes(),
        reconstructed,
    )


def unit(count: int, dim: int, seed: int = 0) -> NDArray[np.float32]:
    vectors = np.random.default_rng(seed).normal(size=(count, dim))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


# The search

_SEARCH = """
  const file = bytesOf(args[0]);
  const header = askew.readPackHeader(file);
  const cut = name => { const each = header.sections.find(each => each.name === name);
    return file.slice(each.offset, each.offset + each.size); };
  const lengths = new Uint32Array(cut('row_lengths').buffer);
  const offsets = new Float64Array(lengths.length + 1);
  lengths.forEach((length, place) => { offsets[place + 1] = offsets[place] + length; });
  const index = new askew.PackIndex(askew.readCodes(header, cut('codec'), cut('codes'), cut('scales')), cut('rows'), offsets);
"""


def search(page: Page, pack: bytes, query: NDArray[np.float32], **options: Any) -> list[tuple[str, float]]:
    hits = page.run(
        _SEARCH + "return index.search(new Float32Array(bytesOf(args[1]).buffer), args[2]);",
        base64.b64encode(pack).decode(),
        base64.b64encode(query.astype("<f4").tobytes()).decode(),
        options,
    )
    assert all(hit["payload"] == {"title": f"Title {hit['id']}"} for hit in hits)
    return [(hit["id"], hit["score"]) for hit in hits]


def expected(
    vectors: NDArray[np.float32], ids: Sequence[str], query: NDArray[np.float32], kind: str, size: int, limit: int
) -> list[tuple[str, float]]:
    """What the words of docs/offline.md give, computed from the vectors that the codes stand for."""
    _, _, reconstructed = _encode(vectors, kind, size, 0)
    scales = (1 / np.maximum(1e-6, np.linalg.norm(reconstructed, axis=1))).astype("<f4")
    rounded = query.astype(np.float16).astype(np.float64)
    scores = np.round(np.clip(reconstructed.astype(np.float64) @ rounded * scales, -1, 1), 6)
    return [(ids[item], scores[item]) for item in sorted(range(len(ids)), key=lambda item: (-scores[item], ids[item]))][
        :limit
    ]


@pytest.mark.parametrize(
    ("kind", "items", "dim", "size"),
    [
        ("product", 300, 64, 16),
        ("product", 1_500, 97, 13),
        ("product", 5, 40, 39),
        ("int8", 700, 97, 97),
        ("int8", 3, 8, 8),
    ],
)
def test_hits_are_those_of_the_documented_scores(page: Page, kind: str, items: int, dim: int, size: int) -> None:
    vectors, ids = unit(items, dim), [f"item {place}" for place in range(items)]
    pack = make_pack(vectors, ids, range(1, items + 1), sequence=items, kind=kind, size=size)
    for seed in (1, 2):
        query = unit(1, dim, seed)[0]
        found, wanted = search(page, pack, query, limit=10), expected(vectors, ids, query, kind, size, 10)
        assert len(found) == len(wanted) == min(10, items)
        assert [score for _, score in found] == pytest.approx([score for _, score in wanted], abs=2e-6)
        assert [item for item, _ in found] == [item for item, _ in wanted]


def test_equal_scores_are_ordered_by_the_code_points_of_the_ids(page: Page) -> None:
    # Between them lies what JavaScript's own order gets wrong: U+FF21 and characters beyond U+FFFF.
    ids = ["b", "a", "Ａ", "😀", "é", "aa", "𝒜"]
    vectors = np.repeat(unit(1, 32), len(ids), axis=0)
    pack = make_pack(vectors, ids, range(1, 8), sequence=7, kind="int8")
    found = search(page, pack, vectors[0], limit=4)
    assert [item for item, _ in found] == sorted(ids)[:4]
    assert len({score for _, score in found}) == 1


def test_hits_below_a_threshold_are_left_out(page: Page) -> None:
    vectors, ids = unit(50, 32), [f"{place}" for place in range(50)]
    pack = make_pack(vectors, ids, range(50), sequence=50, kind="int8")
    everything = search(page, pack, vectors[7], limit=50)
    threshold = everything[4][1]
    assert search(page, pack, vectors[7], limit=50, scoreThreshold=threshold) == everything[:5]


def test_the_items_like_another_one_leave_it_out(page: Page) -> None:
    vectors, ids = unit(200, 64), [f"{place}" for place in range(200)]
    pack = make_pack(vectors, ids, range(200), sequence=200, kind="int8")
    text = base64.b64encode(pack).decode()
    similar = page.run(_SEARCH + "return index.similar('17', 5).map(each => each.id);", text)
    assert similar == [item for item, _ in search(page, pack, vectors[17], limit=6)][1:]
    assert page.run(_SEARCH + "return index.similar('none', 5) ?? null;", text) is None


@pytest.mark.parametrize("share", [0.001, 0.01, 0.05, 0.2, 0.333, 0.999, 1.0])
def test_the_threshold_is_the_servers(page: Page, share: float) -> None:
    percentiles = np.sort(np.random.default_rng(3).normal(size=101)).tolist()
    found = page.run("return askew.falseMatchThreshold(args[0], args[1]);", percentiles, share)
    # askew_server.storage.encoders: EncoderFacts.threshold_for.
    assert found == pytest.approx(float(np.interp(100.0 * (1.0 - share), np.arange(101), percentiles)), abs=1e-12)


def test_every_float16_is_unpacked_as_numpy_unpacks_it(page: Page) -> None:
    bits = np.arange(0x10000, dtype=np.uint32).astype("<u2")
    finite = bits[np.isfinite(bits.view("<f2"))]
    text = page.run(
        "return textOf(new Uint8Array(askew.unpackFloat16(bytesOf(args[0])).buffer));",
        base64.b64encode(finite.tobytes()).decode(),
    )
    assert base64.b64decode(text) == finite.view("<f2").astype("<f4").tobytes()


# Files that are no packs


def _with(pack: bytes, **members: Any) -> bytes:
    (length,) = struct.unpack("<I", pack[8:12])
    header = {**json.loads(pack[12 : 12 + length]), **members}
    text = json.dumps(header, sort_keys=True, separators=(",", ":")).encode()
    return b"ASKEWPK1" + struct.pack("<I", len(text)) + text + pack[12 + length :]


def test_files_that_are_no_packs_are_refused_with_their_kind(page: Page) -> None:
    pack = make_pack(unit(20, 32), [f"{place}" for place in range(20)], range(20), sequence=20)
    read = "return askew.readPackHeader(bytesOf(args[0])).items;"
    assert page.run(read, base64.b64encode(pack).decode()) == 20
    for damaged, kind, words in (
        (b"", "not-a-pack", "Expected an offline pack"),
        (b"PK\3\4 another file", "not-a-pack", "Expected an offline pack"),
        (b"ASKEWPK2" + pack[8:], "not-a-pack", "has format 2; this app reads format 1. Reload the app"),
        (_with(pack, format=3), "not-a-pack", "has format 3; this app reads format 1. Reload the app"),
        (pack[:40], "damaged-pack", "ends within its header"),
        (pack[:12] + b"{" + pack[13:].replace(b"}", b"]", 1), "damaged-pack", "not JSON"),
        (pack[:8] + struct.pack("<I", 2**31) + pack[12:], "damaged-pack", "at most 65536"),
        (_with(pack, items=10**9), "damaged-pack", "a member of its header"),
        (_with(pack, items=21), "damaged-pack", "section"),
        (_with(pack, dim=31), "damaged-pack", "section"),
        (_with(pack, codec={"kind": "product", "bytes": 64, "id": "x"}), "damaged-pack", "a member of its header"),
        (_with(pack, sections=[]), "damaged-pack", "expected each section once"),
    ):
        refusal = page.refusal(read, base64.b64encode(damaged).decode())
        assert kind in refusal and words in refusal, (damaged[:20], refusal)


# Keeping a pack

_STORE = f"""
  const client = new askew.AskewClient(args[0]);
  const store = new askew.PackStore(client, caches, {PART_BYTES});
  const bring = async () => store.fetch(await client.offlinePack('museum'));
  const ids = async kept => {{ const pack = await store.open(kept); const items = await pack.items(0, 2000);
    const thumbnails = [];
    for (const {{index}} of items) thumbnails.push(pack.hasThumbnail(index) ? await pack.thumbnail(index).text() : null);
    pack.close(); return [items.map(each => each.id), thumbnails]; }};
"""


@pytest.fixture
def server(page: Page, url: str) -> Iterator[ScriptedPackServer]:
    with ScriptedPackServer(url) as server:
        page.browser.start_at(f"{server.url}/")
        page.browser.driver.set_script_timeout(60)
        yield server


def museum(count: int, *, gone: Sequence[int] = (), **options: Any) -> bytes:
    """A pack of `count` items with thumbnails of some 300 bytes, without those whose place is in `gone`."""
    places = [place for place in range(count) if place not in gone]
    thumbnails = [b"" if place % 5 == 4 else b"WEBP %d " % place * 40 for place in places]
    return make_pack(
        unit(count, 64)[places],
        [f"item {place}" for place in places],
        [place + 1 for place in places],
        **{"sequence": count, "thumbnails": thumbnails, **options},
    )


def test_a_download_that_breaks_off_goes_on_where_it_stopped(page: Page, server: ScriptedPackServer) -> None:
    server.pack = museum(60)
    assert len(server.pack) > 8 * PART_BYTES
    server.breaks_after = 5
    assert "unreachable" in page.refusal(_STORE + "return await bring();", server.url)
    assert page.run(_STORE + "return await store.kept('museum') ?? null;", server.url) is None
    before = list(server.ranges)
    server.breaks_after = None
    server.ranges.clear()
    # After a reload, nothing that was kept is fetched again.
    page.browser.driver.get(f"{server.url}/")
    found, thumbnails = page.run(_STORE + "return ids(await bring());", server.url)
    assert found == [f"item {place}" for place in range(60)]
    assert thumbnails[:5] == ["WEBP 0 " * 40, "WEBP 1 " * 40, "WEBP 2 " * 40, "WEBP 3 " * 40, None]
    assert not set(before[:4]) & set(server.ranges)
    assert sum(end - start for start, end in {*before[:4], *server.ranges}) == len(server.pack)
    server.ranges.clear()
    assert page.run(_STORE + "return (await bring()).sha256;", server.url) == hashlib.sha256(server.pack).hexdigest()
    assert server.ranges == []


def test_a_damaged_section_is_fetched_again_and_refused_if_it_stays_damaged(
    page: Page, server: ScriptedPackServer
) -> None:
    server.pack = museum(60)
    damaged_at = len(server.pack) - 3
    server.damage = {damaged_at: 1}
    found, _ = page.run(_STORE + "return ids(await bring());", server.url)
    assert len(found) == 60
    assert len([each for each in server.ranges if each[1] > damaged_at]) == 2
    page.run(_STORE + "await store.delete('museum');", server.url)
    server.damage = {damaged_at: 1_000}
    assert "damaged-pack" in page.refusal(_STORE + "return await bring();", server.url)
    assert page.run(_STORE + "return await store.kept('museum') ?? null;", server.url) is None


def test_a_copy_that_is_damaged_on_the_device_is_refused(page: Page, server: ScriptedPackServer) -> None:
    server.pack = museum(20)
    page.run(_STORE + "await bring();", server.url)
    damage = """
      const [name] = (await caches.keys()).filter(name => name.startsWith('askew-packs'));
      const cache = await caches.open(name);
      const [request] = (await cache.keys()).filter(({url}) => url.endsWith('/' + args[1]));
      const bytes = new Uint8Array(await (await cache.match(request)).arrayBuffer());
      bytes[bytes.length >> 1] ^= 1;
      await cache.put(request, new Response(bytes));
      return ids(await store.kept('museum'));"""
    refusal = page.refusal(_STORE + damage, server.url, "codes")
    assert "damaged-pack" in refusal
    assert 'section "codes"' in refusal


def test_an_update_fetches_only_what_is_new(page: Page, server: ScriptedPackServer) -> None:
    server.pack = museum(900)
    page.run(_STORE + "await bring();", server.url)
    server.pack = museum(910, gone=[0, 7, 8, 899])
    server.ranges.clear()
    found, thumbnails = page.run(_STORE + "return ids(await bring());", server.url)
    assert found == [f"item {place}" for place in range(910) if place not in {0, 7, 8, 899}]
    assert thumbnails[-1] is None and thumbnails[-2] == "WEBP 908 " * 40
    # The first bytes with the header, the labels, and the ends of the sections.
    labels, added = 12 * 906, 10 * (16 + 4 + 4 + 60 + 4 + 400)
    assert sum(end - start for start, end in server.ranges) < 65_536 + labels + added < len(server.pack) / 2
    # Only the newer version is left.
    kept = page.run(
        """const found = new Set();
        for (const name of await caches.keys()) {
          for (const {url} of await (await caches.open(name)).keys()) found.add(new URL(url).pathname.split('/')[3]);
        }
        return [...found].filter(each => each?.length === 64);"""
    )
    assert kept == [hashlib.sha256(server.pack).hexdigest()]


@pytest.mark.parametrize(
    "changed", [{"codebooks": 1}, {"fields": ["title", "author"]}, {"sequence": 1_000, "thumbnails": None}]
)
def test_an_update_that_changed_more_fetches_the_whole_file(
    page: Page, server: ScriptedPackServer, changed: dict[str, Any]
) -> None:
    server.pack = museum(60)
    page.run(_STORE + "await bring();", server.url)
    server.pack = museum(61, **changed)
    server.ranges.clear()
    found, _ = page.run(_STORE + "return ids(await bring());", server.url)
    assert len(found) == 61
    assert sum(end - start for start, end in server.ranges) >= len(server.pack)


def test_two_versions_are_never_mixed(page: Page, server: ScriptedPackServer) -> None:
    server.pack = museum(60)
    server.replace_after = (4, museum(70, gone=[3]))
    found, _ = page.run(_STORE + "return ids(await bring());", server.url)
    assert found == [f"item {place}" for place in range(70) if place != 3]


def test_a_server_that_sends_the_whole_file_instead_of_a_range_is_enough(
    page: Page, server: ScriptedPackServer
) -> None:
    server.pack = museum(60)
    server.ignores_ranges = True
    found, _ = page.run(_STORE + "return ids(await bring());", server.url)
    assert len(found) == 60
    assert len(server.ranges) == 1


def test_a_pack_of_another_gallery_or_space_is_refused(page: Page, server: ScriptedPackServer) -> None:
    server.pack = museum(20)
    server.description = {"gallery": "museum", "space": "sp1-" + "1" * 32}
    assert "damaged-pack" in page.refusal(_STORE + "return await bring();", server.url)
    server.description = {}
    page.run(_STORE + "await bring();", server.url)
    refusal = page.refusal(
        _STORE
        + """const pack = await store.open(await store.kept('museum'));
        return pack.search(new Float32Array(64), 'sp1-another', {limit: 1});""",
        server.url,
    )
    assert "foreign-pack" in refusal


def test_a_browser_without_room_says_so(page: Page, server: ScriptedPackServer) -> None:
    server.pack = museum(20)
    full = """const put = Cache.prototype.put;
      Cache.prototype.put = async () => { throw new DOMException('full', 'QuotaExceededError'); };
      try { return await bring(); } finally { Cache.prototype.put = put; }"""
    refusal = page.refusal(_STORE + full, server.url)
    assert "storage-full" in refusal
    assert re.search(r"no room for 0\.0 MB more: it uses [\d.]+ MB of the [\d.]+ MB", refusal)
