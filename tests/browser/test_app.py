"""The web app: photos are described on the device, and only vectors are sent."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image
from selenium.webdriver.common.keys import Keys

from askew_client import Client
from askew_client.encoding.encoder import Encoder
from tests.browser.app_page import AppPage
from tests.browser.conftest import Browser, admit, open_browser
from tests.browser.proxy import Answer, Proxy
from tests.support.paths import DEMO
from tests.support.running_server import RunningServer
from tests.support.small_encoders import make_encoder

pytestmark = pytest.mark.browser

QUERIES = sorted((DEMO / "queries").glob("*.jpg"))
TAJ_MAHAL = DEMO / "queries" / "taj-mahal.jpg"
MAX_BODY_BYTES = 5_000


@pytest.fixture
def proxy(url: str) -> Iterator[Proxy]:
    """In front of the demo's server."""
    proxy = Proxy(url)
    yield proxy
    proxy.close()


@pytest.fixture
def small_proxy(small: RunningServer) -> Iterator[Proxy]:
    """In front of the server with tiny encoders, under a path prefix."""
    proxy = Proxy(small.url, "/museum/guide")
    yield proxy
    proxy.close()


@pytest.fixture
def app(shared_browser: Browser, url: str) -> AppPage:
    """The app in a browser that other tests use, too: it has the encoder already, and no settings."""
    app = AppPage(shared_browser, url)
    app.driver.get(f"{url}/version")
    app.driver.execute_script("localStorage.clear()")
    return app


# From the photo to the hits


def test_a_photo_is_described_here_and_only_its_vector_is_sent(browser: Browser, proxy: Proxy) -> None:
    app = AppPage(browser, proxy.url)
    app.open()
    assert app.search(TAJ_MAHAL)[0] == "taj-mahal"
    sent = proxy.bodies_sent
    assert [len(body) for body in sent] == [2 * Encoder(DEMO / "encoders" / "student.onnx").manifest.dim]
    assert len(sent[0]) < MAX_BODY_BYTES
    figures = app.at("#figures")
    assert figures.get_attribute("data-bytes-sent") == str(len(sent[0]))
    assert figures.get_attribute("data-described-by") == "device"
    assert f"{TAJ_MAHAL.stat().st_size:,}" in figures.text
    assert app.at("#privacy").text == "Your photo stays on this device."
    # Nothing but this server was asked, and the browser had nothing to complain about.
    requested = {urlsplit(request["url"]) for request in browser.requests()}
    assert {part.netloc for part in requested if part.scheme.startswith("http")} == {urlsplit(proxy.url).netloc}
    assert browser.console() == []


def test_behind_a_prefix_the_app_asks_for_nothing_outside_it(
    browser: Browser, small_proxy: Proxy, photos: list[Path]
) -> None:
    app = AppPage(browser, small_proxy.url)
    app.open()
    assert app.search(photos[0])[0] == photos[0].stem
    requested = {urlsplit(request["url"]) for request in browser.requests()}
    loaded = {part for part in requested if part.scheme.startswith("http")}
    assert {part.netloc for part in loaded} == {urlsplit(small_proxy.url).netloc}
    assert all(part.path.startswith("/museum/guide/") for part in loaded)
    assert browser.console() == []


def test_hits_are_those_of_the_python_client(app: AppPage, url: str) -> None:
    student = Encoder(DEMO / "encoders" / "student.onnx")
    app.open()
    app.click("#open-settings")
    app.driver.execute_script(
        "arguments[0].value = 'off'; arguments[0].dispatchEvent(new Event('change', {bubbles: true}))",
        app.at("#threshold"),
    )
    app.click("#settings-close")
    with Client(url) as client:
        for query in QUERIES:
            expected = client.search(student.encode(query), space=student.space_id, gallery="demo", limit=10).hits
            found = app.search(query)[:10]
            scores = {hit.id: hit.score for hit in expected}
            for place, (mine, theirs) in enumerate(zip(found, expected, strict=True)):
                # Two items may swap their places if their scores are nearly equal.
                assert abs(scores.get(mine, -1) - theirs.score) <= 1e-3, (query, place, mine, theirs.id)


def test_the_encoder_is_fetched_once_and_a_damaged_copy_is_replaced(
    browser: Browser, small_proxy: Proxy, photos: list[Path]
) -> None:
    app = AppPage(browser, small_proxy.url)

    def fetched() -> bool:
        return any(urlsplit(request["url"]).path.endswith("/file") for request in app.browser.requests())

    app.open()
    assert fetched()
    app.open()
    assert not fetched()
    app.driver.execute_async_script(
        """const done = arguments[0];
        caches.open('askew-encoders-1').then(async cache => {
          const kept = (await cache.keys()).find(({url}) => /[0-9a-f]{64}$/.test(url));
          const bytes = new Uint8Array(await (await cache.match(kept)).arrayBuffer());
          bytes[bytes.length >> 1] ^= 1;
          await cache.put(kept, new Response(bytes));
          done();
        });"""
    )
    app.open()
    assert fetched()
    app.open()
    assert not fetched()
    assert app.search(photos[0])[0] == photos[0].stem


def test_a_crop_is_searched_again_and_the_whole_photo_returns(app: AppPage) -> None:
    app.open()
    whole = app.search(TAJ_MAHAL)
    before = (
        app.text("#results-status"),
        [each.get_attribute("data-score") for each in app.all("#results [data-score]")],
    )
    app.click("#start-crop")
    crop = app.at("#crop")
    for _ in range(6):
        crop.send_keys(Keys.SHIFT, Keys.ARROW_LEFT)

    def scores() -> list[str | None]:
        return [each.get_attribute("data-score") for each in app.all("#results [data-score]")]

    app.until(lambda: app.state in {"found", "nothing"} and scores() != before[1])
    app.click("#whole-photo")
    app.until(lambda: app.state == "found" and scores() == before[1])
    assert app.result_ids == whole


def test_details_and_more_like_this(app: AppPage) -> None:
    app.open()
    hits = app.search(TAJ_MAHAL)
    app.click("#results [data-id='taj-mahal']" if app.all("#results button[data-id]") else "#results [data-id] button")
    app.until(lambda: app.at("#details").is_displayed())
    assert app.text("#details-title") == "Taj Mahal"
    assert "CC" in app.text("#details-facts") or "public-domain" in app.text("#details-facts")
    app.click("#more-like-this")
    app.until(lambda: "Like Taj Mahal" in app.text("#results-heading"))
    app.until(lambda: app.result_ids and "taj-mahal" not in app.result_ids)
    app.click("#back")
    app.until(lambda: app.result_ids == hits)


def test_what_looks_like_nothing_in_the_gallery_is_answered_so(app: AppPage, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (300, 300, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    app.open()
    app.choose(tmp_path / "noise.png")
    app.wait_for_state("nothing", "found", "failed")
    assert app.state == "nothing", app.result_ids
    assert "Nothing in this gallery looks like it." in app.text("#results-section")
    app.click("#show-nearest")
    app.wait_for_state("found")
    assert len(app.result_ids) > 5


# The camera

CAMERA = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")


def test_the_camera_takes_a_photo(url: str, tmp_path: Path) -> None:
    video = tmp_path / "taj-mahal.mjpeg"
    frame = tmp_path / "frame.jpg"
    with Image.open(TAJ_MAHAL) as photo:
        photo.resize((640, 480)).save(frame, quality=95)
    video.write_bytes(frame.read_bytes() * 30)
    with open_browser(tmp_path / "profile", *CAMERA, f"--use-file-for-fake-video-capture={video}") as browser:
        app = AppPage(browser, url)
        app.open()
        app.click("#open-camera")
        app.until(lambda: app.driver.execute_script("return document.querySelector('#viewfinder').videoWidth") > 0)
        app.click("#shoot")
        app.wait_for_state("found", "nothing", "failed")
        assert "taj-mahal" in app.result_ids[:3]
        # The camera is off again.
        assert app.driver.execute_script("return document.querySelector('#viewfinder').srcObject") is None


def test_a_refused_camera_is_named_and_files_still_work(
    small: RunningServer, photos: list[Path], tmp_path: Path
) -> None:
    with open_browser(tmp_path / "profile", CAMERA[0], "--deny-permission-prompts") as browser:
        app = AppPage(browser, small.url)
        app.open()
        app.click("#open-camera")
        app.wait_for_notice("camera-refused")
        assert app.search(photos[0])[0] == photos[0].stem


def test_without_a_camera_files_still_work(app: AppPage) -> None:
    app.open()
    app.click("#open-camera")
    app.wait_for_notice("no-camera")
    assert app.search(TAJ_MAHAL)[0] == "taj-mahal"


# What may go wrong


def test_a_damaged_download_is_refused_and_fetched_again(
    browser: Browser, small_proxy: Proxy, photos: list[Path]
) -> None:
    small_proxy.change = lambda target, body: body[:-9] + b"\0" + body[-8:] if "/file" in target else body
    app = AppPage(browser, small_proxy.url)
    app.open(state="failed")
    app.wait_for_notice("damaged-encoder")
    small_proxy.change = lambda _, body: body
    app.click("#retry")
    app.wait_for_state("ready")
    assert app.search(photos[0])[0] == photos[0].stem


def test_a_server_that_is_gone_at_the_first_visit_is_named_and_asked_again(
    browser: Browser, small_proxy: Proxy, photos: list[Path]
) -> None:
    app = AppPage(browser, small_proxy.url)
    small_proxy.instead = lambda request: Answer(502, b"no server") if "/v1/" in request.target else None
    app.open(state="failed")
    assert app.at("#notice").is_displayed()
    assert app.at("#network").is_displayed()
    small_proxy.instead = lambda _: None
    # It goes on by itself.
    app.wait_for_state("ready")
    assert not app.at("#notice").is_displayed()
    assert app.search(photos[0])[0] == photos[0].stem


def test_photos_that_cannot_be_described_are_named_and_the_next_one_is_searched(app: AppPage, tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("no photo")
    Image.new("RGB", (2_000, 20)).save(tmp_path / "thin.png")
    Image.new("1", (10_000, 10_000)).save(tmp_path / "large.png")
    app.open()
    for name, kind in (
        ("text.jpg", "unreadable-photo"),
        ("thin.png", "photo-too-thin"),
        ("large.png", "photo-too-large"),
    ):
        app.choose(tmp_path / name)
        app.until(partial(_has_notice, app, kind))
    assert app.search(TAJ_MAHAL)[0] == "taj-mahal"
    assert not app.at("#notice").is_displayed()


def _has_notice(app: AppPage, kind: str) -> bool:
    return app.at("#notice").get_attribute("data-kind") == kind and app.at("#notice").is_displayed()


# Small galleries of other servers


def test_a_key_is_asked_for_kept_on_this_device_and_never_in_an_address(
    browser: Browser, served: RunningServer, student_file: Path, photos: list[Path]
) -> None:
    admit(served, student_file)
    admin = served.http.post("/v1/keys", json={"name": "admin", "scopes": ["admin"]}).json()["key"]
    made = {"Authorization": f"Bearer {admin}"}
    key = served.http.post("/v1/keys", json={"name": "phone", "scopes": ["search"]}, headers=made).json()["key"]
    app = AppPage(browser, served.url)
    app.driver.get(f"{served.url}/")
    app.until(lambda: app.at("#key-form").is_displayed())
    app.at("#key-input").send_keys("ask_wrong")
    app.click("#key-submit")
    app.until(lambda: app.at("#key-form").is_displayed() and app.at("#key-input").get_attribute("value") == "")
    app.at("#key-input").send_keys(key)
    app.click("#key-submit")
    app.wait_for_state("ready")
    # Photos of hits need the key, too.
    assert app.search(photos[0])[0] == photos[0].stem
    shown = "return [...document.querySelectorAll('#results img')].filter(each => each.naturalWidth > 0).length"
    app.until(lambda: app.driver.execute_script(shown) > 0)
    app.open()
    assert all(key not in request["url"] for request in browser.requests())


def test_a_key_in_the_fragment_is_taken_out_of_the_address(
    browser: Browser, served: RunningServer, student_file: Path
) -> None:
    admit(served, student_file)
    admin = served.http.post("/v1/keys", json={"name": "admin", "scopes": ["admin"]}).json()["key"]
    app = AppPage(browser, served.url)
    before = app.driver.execute_script("return history.length")
    app.open(f"#key={admin}")
    assert app.driver.current_url == f"{served.url}/"
    # Going back does not lead to the key, either.
    assert app.driver.execute_script("return history.length") <= before + 1


def test_a_new_student_takes_over_in_the_middle_of_a_visit(
    browser: Browser, served: RunningServer, student_file: Path, photos: list[Path], tmp_path: Path
) -> None:
    admit(served, student_file)
    app = AppPage(browser, served.url)
    app.open()
    assert app.search(photos[0])[0] == photos[0].stem
    admit(served, make_encoder(tmp_path / "next.onnx", role="student", noise=0.05, photo_size=96, version="2"))
    assert served.http.delete("/v1/galleries/objects/encoders/student@1").status_code == 200
    app.choose(photos[1])
    app.until(lambda: app.at("#figures").get_attribute("data-encoder") == "student@2")
    app.wait_for_state("found")
    assert app.result_ids[0] == photos[1].stem
    assert "student@2" in app.text("#notice")


@pytest.mark.parametrize("served", [("--photo-search",)], indirect=True)
def test_without_a_student_the_photo_is_sent_only_after_the_person_agreed(
    browser: Browser, served: RunningServer, photos: list[Path]
) -> None:
    proxy = Proxy(served.url)
    app = AppPage(browser, proxy.url)
    try:
        app.driver.get(f"{proxy.url}/")
        app.wait_for_notice("no-encoder-fits")
        app.choose(photos[0])
        app.until(lambda: app.at("#send-photo").is_displayed())
        assert proxy.bodies_sent == []
        app.click("#send-photo")
        app.wait_for_state("found")
        assert app.result_ids[0] == photos[0].stem
        assert len(proxy.bodies_sent) == 1
        assert app.at("#privacy").get_attribute("data-photo") == "sent"
    finally:
        proxy.close()


def test_payloads_are_text_and_their_links_are_web_addresses(
    browser: Browser, served: RunningServer, student_file: Path, photos: list[Path], teacher_file: Path
) -> None:
    admit(served, student_file)
    markup = "<img src=x onerror=\"document.title='attacked'\"><script>document.title='attacked'</script>"
    payload = {
        "title": markup,
        "author": markup,
        "licence": "L" * 400,
        "source": "javascript:document.title='attacked'",
        "nested": {"a": markup},
    }
    answer = served.http.put(
        "/v1/galleries/objects/items/attack",
        params={"payload": json.dumps(payload)},
        content=photos[0].read_bytes(),
        headers={"Content-Type": "image/jpeg"},
    )
    assert answer.status_code == 200, answer.text
    app = AppPage(browser, served.url)
    app.resize(360, 740)
    app.open()
    assert "attack" in app.search(photos[0])[:2]
    app.click(
        "#results button[data-id='attack']"
        if app.all("#results button[data-id]")
        else "#results [data-id='attack'] button"
    )
    app.until(lambda: app.at("#details").is_displayed())
    assert app.text("#details-title") == markup
    assert app.driver.title != "attacked"
    addresses = app.driver.execute_script("return [...document.links].map(each => each.href)")
    assert all(urlsplit(address).scheme in {"http", "https"} for address in addresses)
    assert app.driver.execute_script("return document.documentElement.scrollWidth") <= 360


def test_the_app_works_on_a_cross_origin_isolated_page(
    browser: Browser, small_data: Path, tmp_path: Path, student_file: Path, photos: list[Path]
) -> None:
    shutil.copytree(small_data, tmp_path / "data")
    isolated = {"ASKEW_CROSS_ORIGIN_ISOLATION": "true"}
    with RunningServer(tmp_path / "data", "--gallery", "objects", environment=isolated) as server:
        admit(server, student_file)
        app = AppPage(browser, server.url)
        app.open()
        assert app.driver.execute_script("return crossOriginIsolated") is True
        assert app.search(photos[2])[0] == photos[2].stem


def test_an_insecure_address_works_without_what_browsers_forbid_there(
    served: RunningServer, student_file: Path, photos: list[Path], tmp_path: Path
) -> None:
    admit(served, student_file)
    rules = "--host-resolver-rules=MAP askew.test 127.0.0.1"
    with open_browser(tmp_path / "profile", rules) as browser:
        app = AppPage(browser, served.url.replace("127.0.0.1", "askew.test"))
        app.open()
        assert app.driver.execute_script("return isSecureContext") is False
        assert app.at("#insecure").is_displayed()
        assert app.search(photos[3])[0] == photos[3].stem
