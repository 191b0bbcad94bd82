"""`@askew/client` in a browser computes what the Python client computes."""

from __future__ import annotations

import base64
import hashlib
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from askew_client.contract.encoder_file import parse_encoder_file, read_encoder_file
from askew_client.contract.manifest import golden_text
from askew_client.contract.wire import pack
from askew_client.encoding.cap import cap_pixels
from askew_client.encoding.encoder import Encoder
from askew_client.encoding.golden import GOLDEN_SIZES, draw_golden_picture
from askew_client.encoding.photos import read_photo, shrunk_size
from tests.browser.conftest import Browser, open_browser
from tests.browser.photo_kinds import jpeg_kinds, png_kinds
from tests.support.paths import DEMO, ROOT
from tests.support.small_encoders import make_encoder, sealed

pytestmark = pytest.mark.browser

STUDENT = DEMO / "encoders" / "student.onnx"
PHOTO = DEMO / "gallery" / "chichen-itza.jpg"
_OPEN = """
  const client = new askew.AskewClient(document.baseURI);
  const best = await client.bestEncoder('demo');
  const {file} = await new askew.EncoderStore(client).fetch('demo', best);
  window.encoder = await askew.Encoder.open(file, {files: askew.ENGINE_FILES});
  return {space: encoder.manifest.space, golden: [...encoder.selfTest.golden.values()]};
"""


class Page:
    """A page of the server, in which the library runs."""

    def __init__(self, browser: Browser) -> None:
        self.browser = browser

    def run(self, script: str, *arguments: Any) -> Any:
        """The value of an async function's body, in which `askew` is the library. Raises AssertionError if it throws."""
        answer = self.browser.driver.execute_async_script(
            """const done = arguments[arguments.length - 1], args = [...arguments].slice(0, -1);
            const bytesOf = text => Uint8Array.from(atob(text), each => each.charCodeAt(0));
            const textOf = bytes => {
              let text = '';
              for (let at = 0; at < bytes.length; at += 32768) text += String.fromCharCode(...bytes.subarray(at, at + 32768));
              return btoa(text);
            };
            import(new URL('page/askew-client.js', document.baseURI)).then(async askew => {
            """
            + script
            + """}).then(value => done({value}), error => done({error: `${error.name} ${error.kind}: ${error.message}`}));""",
            *arguments,
        )
        assert "error" not in answer, answer["error"]
        return answer.get("value")

    def refusal(self, script: str, *arguments: Any) -> str:
        """What an async function's body throws."""
        with pytest.raises(AssertionError) as raised:
            self.run(script, *arguments)
        return str(raised.value)

    def describe(self, photo: bytes) -> NDArray[np.float32]:
        """The vector of a photo file."""
        text = self.run(
            "return textOf(new Uint8Array((await encoder.describe(new Blob([bytesOf(args[0])]))).vector.buffer));",
            base64.b64encode(photo).decode(),
        )
        return np.frombuffer(base64.b64decode(text), "<f4")


@pytest.fixture(scope="module")
def page(url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with open_browser(tmp_path_factory.mktemp("library") / "profile") as browser:
        browser.driver.get(f"{url}/version")
        browser.driver.get(f"{url}/")
        browser.driver.set_script_timeout(60)
        page = Page(browser)
        opened = page.run(_OPEN)
        assert max(opened["golden"]) < 1e-6
        yield page


@pytest.fixture(scope="module")
def student() -> Encoder:
    return Encoder(STUDENT, threads=1)


def cosine(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    return float(one.astype(np.float64) @ other.astype(np.float64))


QUICK = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@QUICK
@given(st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=64))
def test_vectors_are_packed_as_numpy_packs_them(page: Page, values: list[float]) -> None:
    packed = page.run("return textOf(askew.packFloat16(Float32Array.from(args[0])));", values)
    assert base64.b64decode(packed) == pack(np.array(values, np.float32))


def test_every_float16_and_its_neighbours_are_packed_as_numpy_packs_them(page: Page) -> None:
    halves = np.arange(0x7C00, dtype=np.uint16).view(np.float16).astype(np.float32)
    middles = (halves[:-1] + halves[1:]) / 2
    values = np.concatenate(
        [halves, middles, np.nextafter(middles, np.float32(0)), np.nextafter(middles, np.float32(9e4))]
    )
    values = np.concatenate([values, -values]).astype("<f4")
    packed = page.run(
        "return textOf(askew.packFloat16(new Float32Array(bytesOf(args[0]).buffer)));",
        base64.b64encode(values.tobytes()).decode(),
    )
    assert base64.b64decode(packed) == pack(values)


@pytest.mark.parametrize("value", ["NaN", "Infinity", "70000"])
def test_what_float16_cannot_hold_is_not_packed(page: Page, value: str) -> None:
    assert "RangeError" in page.refusal(f"return askew.packFloat16(Float32Array.of({value}));")


@pytest.mark.parametrize("length", [0, 1, 55, 56, 63, 64, 65, 1_000, 100_003])
def test_sha256_without_a_secure_context_is_the_same(page: Page, length: int) -> None:
    content = np.random.default_rng(length).bytes(length)
    text = base64.b64encode(content).decode()
    digest = page.run("return textOf(askew.computeSha256(bytesOf(args[0])));", text)
    assert base64.b64decode(digest) == hashlib.sha256(content).digest()


@pytest.mark.parametrize("name", GOLDEN_SIZES)
def test_golden_pictures_are_drawn_pixel_for_pixel(page: Page, name: str) -> None:
    drawn = page.run(
        """const {data, width, height} = askew.drawGoldenPicture(args[0]);
        return [await askew.sha256(data), width, height];""",
        name,
    )
    expected = draw_golden_picture(name)
    assert (drawn[2], drawn[1], 3) == expected.shape
    assert drawn[0] == hashlib.sha256(expected.tobytes()).hexdigest()


@QUICK
@given(st.integers(1, 9_000), st.integers(1, 9_000), st.integers(96, 2_048))
def test_the_size_rule_is_the_same(page: Page, width: int, height: int, photo_size: int) -> None:
    shrunk = page.run("return askew.shrunkSize({width: args[0], height: args[1]}, args[2]);", width, height, photo_size)
    assert (shrunk["height"], shrunk["width"]) == shrunk_size(height, width, photo_size)


@pytest.mark.parametrize(("width", "height"), [(2_559, 130), (2_560, 131), (4_033, 277), (300, 5_123)])
def test_the_cap_rule_is_the_same(page: Page, width: int, height: int) -> None:
    pixels = np.random.default_rng(width).integers(0, 256, (height, width, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    capped = page.run(
        """const {data, width, height} = await askew.decodePhoto(new Blob([bytesOf(args[0])]), 640);
        return [await askew.sha256(data), width, height];""",
        base64.b64encode(stream.getvalue()).decode(),
    )
    expected = cap_pixels(pixels, 640)
    assert (capped[2], capped[1]) == expected.shape[:2]
    assert capped[0] == hashlib.sha256(expected.tobytes()).hexdigest()


def test_the_same_pixels_have_the_same_vector(page: Page, student: Encoder) -> None:
    pixels = read_photo(PHOTO)
    text = page.run(
        """const pixels = {data: bytesOf(args[0]), width: args[1], height: args[2]};
        return textOf(new Uint8Array((await encoder.describe(pixels)).vector.buffer));""",
        base64.b64encode(pixels.tobytes()).decode(),
        pixels.shape[1],
        pixels.shape[0],
    )
    vector = np.frombuffer(base64.b64decode(text), "<f4")
    assert cosine(vector, student.encode_pixels(pixels)) >= 0.9999


def test_png_files_have_the_same_vector(page: Page, student: Encoder) -> None:
    found = {
        kind: cosine(page.describe(content), student.encode(content))
        for kind, content in png_kinds(Image.open(PHOTO)).items()
    }
    assert min(found.values()) >= 0.9999, found


def test_jpeg_files_have_nearly_the_same_vector(page: Page, student: Encoder) -> None:
    found = {
        kind: cosine(page.describe(content), student.encode(content))
        for kind, content in jpeg_kinds(Image.open(PHOTO)).items()
    }
    assert min(found.values()) >= 0.999, found


def test_photos_that_cannot_be_described_are_refused_with_their_kind(page: Page, tmp_path: Path) -> None:
    def refusal_of(content: bytes) -> str:
        text = base64.b64encode(content).decode()
        return page.refusal("return await encoder.describe(new Blob([bytesOf(args[0])]));", text)

    assert "unreadable-photo" in refusal_of(b"")
    assert "unreadable-photo" in refusal_of(b"no photo")
    assert "unreadable-photo" in refusal_of(PHOTO.read_bytes()[:300])
    stream = io.BytesIO()
    Image.new("RGB", (3_000, 20)).save(stream, "PNG")
    assert "photo-too-thin" in refusal_of(stream.getvalue())
    stream = io.BytesIO()
    Image.new("1", (10_000, 10_000)).save(stream, "PNG")
    assert "photo-too-large" in refusal_of(stream.getvalue())
    # It still works afterwards.
    assert len(page.describe(PHOTO.read_bytes())) > 0


def test_an_encoder_file_is_verified(page: Page, student_file: Path) -> None:
    read = "return (await askew.readEncoderFile(bytesOf(args[0]))).manifest.id;"
    content = student_file.read_bytes()
    expected = parse_encoder_file(content, "student").manifest.encoder_id
    assert page.run(read, base64.b64encode(content).decode()) == expected
    place = content.index(onnx.load(student_file).graph.initializer[-1].raw_data) + 1
    flipped = content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]
    for damaged, kind in (
        (flipped, "damaged-encoder"),
        (content[:-5], "not-an-encoder"),
        (b"no encoder at all", "not-an-encoder"),
        (b"", "not-an-encoder"),
    ):
        assert kind in page.refusal(read, base64.b64encode(damaged).decode())


_SELF_TEST = """
  const file = await askew.readEncoderFile(bytesOf(args[0]));
  const opened = await askew.Encoder.open(file, {files: askew.ENGINE_FILES, hasPassed: args[1]});
  opened.close();
  return [...opened.selfTest.golden.keys()];
"""


def test_all_golden_pictures_are_recomputed_first_and_one_later(page: Page, student_file: Path) -> None:
    content = base64.b64encode(student_file.read_bytes()).decode()
    assert page.run(_SELF_TEST, content, False) == ["small", "thin", "large"]
    assert page.run(_SELF_TEST, content, True) == ["small"]


@pytest.mark.parametrize("has_passed", [False, True])
def test_an_encoder_that_this_device_computes_wrongly_is_refused(
    page: Page, student_file: Path, has_passed: bool
) -> None:
    manifest = read_encoder_file(student_file).manifest
    wrong = {name: golden_text(np.roll(manifest.golden_vector(name), 1)) for name in manifest.golden}
    content = sealed(onnx.load(student_file), manifest.model_copy(update={"golden": wrong}).to_metadata())
    refusal = page.refusal(_SELF_TEST, base64.b64encode(content).decode(), has_passed)
    assert "encoder-disagrees" in refusal
    assert "off by" in refusal


_KEEP = """
  const fetched = [];
  const client = {encoderFile: async (gallery, id) => (fetched.push(id), new Response(bytesOf(args[0][id])))};
  const store = new askew.EncoderStore(client);
  await caches.delete('askew-encoders-1');
  const kept = [];
  for (const id of args[1]) {
    const file = await askew.readEncoderFile(bytesOf(args[0][id]));
    kept.push((await store.fetch('g', {id, sha256: file.sha256, size: file.bytes.length})).isKept);
  }
  return [fetched, kept];
"""


def test_the_last_three_encoders_are_kept_and_the_one_not_used_for_longest_goes(page: Page, tmp_path: Path) -> None:
    files = {
        name: base64.b64encode(
            make_encoder(tmp_path / name, role="student", seed=seed, dim=8, name=name).read_bytes()
        ).decode()
        for seed, name in enumerate("abcd")
    }
    # `a` is used again before `d` comes, so that `b` goes.
    fetched, kept = page.run(_KEEP, files, [*"abca", *"dacdb"])
    assert fetched == [*"abc", "d", "b"]
    assert all(kept)


def test_in_a_full_storage_the_newest_encoder_takes_the_place_of_the_others(page: Page, tmp_path: Path) -> None:
    files = {
        name: base64.b64encode(
            make_encoder(tmp_path / name, role="student", seed=seed, dim=dim, name=name).read_bytes()
        ).decode()
        for seed, (name, dim) in enumerate({"a": 512, "b": 512, "c": 8192}.items())
    }
    address = urlsplit(page.browser.driver.current_url)
    origin = f"{address.scheme}://{address.netloc}"

    def limit(**quota: int) -> None:
        page.browser.driver.execute_cdp_cmd("Storage.overrideQuotaForOrigin", {"origin": origin, **quota})

    # The service worker keeps the app on this origin, too.
    kinds = "cache_storage,service_workers"
    page.browser.driver.execute_cdp_cmd("Storage.clearDataForOrigin", {"origin": origin, "storageTypes": kinds})
    room_for_two = 2 * len(files["a"]) * 3 // 4 + 200_000
    limit(quotaSize=room_for_two)
    try:
        fetched, kept = page.run(_KEEP, files, [*"ab", "b", "c", "a"])
    finally:
        limit()
    # `c` has no room even alone; what was dropped for it is fetched again.
    assert kept == [True, True, True, False, True]
    assert fetched == [*"abc", "a"]


def test_the_example_of_the_document_runs(page: Page) -> None:
    document = (ROOT / "docs" / "phone.md").read_text()
    example = document[document.index("```js\n") + 6 :].split("```")[0]
    assert 'import { AskewClient, ENGINE_FILES, Encoder, EncoderStore } from "./page/askew-client.js";' in example
    # An import statement stands in modules only; here the module is imported already.
    script = re.sub(r"import (\{.*?\}) from .*;", r"const \1 = askew;", example)
    found = page.run(
        f"const photo = new Blob([bytesOf(args[0])]); {script} encoder.close(); return hits[0].id;",
        base64.b64encode(PHOTO.read_bytes()).decode(),
    )
    assert found == PHOTO.stem
