"""What a phone may meet: a busy server, a full storage, too little memory, threads that hang, huge photos."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil
import pytest
from PIL import Image
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

from tests.browser.app_page import AppPage
from tests.browser.conftest import Browser, admit, open_browser
from tests.browser.proxy import Answer, Proxy, Recorded
from tests.support.running_server import RunningServer
from tests.support.small_encoders import make_encoder

pytestmark = pytest.mark.browser

BUSY = {"type": "/problems/overloaded", "title": "Overloaded", "detail": "256 searches wait already.", "status": 429}


@pytest.fixture
def proxy(small: RunningServer) -> Iterator[Proxy]:
    proxy = Proxy(small.url)
    yield proxy
    proxy.close()


@pytest.fixture
def app(browser: Browser, proxy: Proxy) -> AppPage:
    """The app, not open yet, as a browser meets it for the first time."""
    return AppPage(browser, proxy.url)


def problem(status: int, body: dict[str, object], retry_after: str) -> Answer:
    headers = {"Content-Type": "application/problem+json", "Retry-After": retry_after}
    return Answer(status, json.dumps(body).encode(), headers)


# A server that asks to wait


def test_a_busy_server_is_asked_again_after_the_seconds_that_it_names(
    app: AppPage, proxy: Proxy, photos: list[Path]
) -> None:
    app.open()
    proxy.instead = lambda request: problem(429, BUSY, "2") if "/search" in request.target else None
    app.choose(photos[0])
    app.wait_for_notice("overloaded")
    assert "busy" in app.text("#notice-title")
    assert app.text("#notice-detail") == "It asks to wait for 2 seconds."
    assert "256 searches wait already." in app.text("#notice-reason")
    assert app.text("#retry").startswith("Try again in ")
    assert not app.at("#retry").is_enabled()
    proxy.instead = lambda _: None
    app.until(lambda: app.at("#retry").is_enabled())
    assert app.text("#retry") == "Try again"
    app.click("#retry")
    app.wait_for_state("found")
    assert app.result_ids[0] == photos[0].stem


@pytest.mark.parametrize("retry_after", ["-3", "Wed, 21 Oct 2015 07:28:00 GMT"])
def test_a_server_that_cannot_answer_now_is_asked_again(app: AppPage, proxy: Proxy, retry_after: str) -> None:
    # A proxy's own page, too, without a problem in it.
    proxy.instead = lambda request: (
        Answer(503, b"<h1>Down</h1>", {"Retry-After": retry_after}) if "/v1/galleries" in request.target else None
    )
    app.open(state="failed")
    assert "cannot answer now" in app.text("#notice-title")
    proxy.instead = lambda _: None
    # It asks again by itself.
    app.wait_for_state("ready")


# Ways to a photo, and a crop of it


def test_a_photo_can_be_dropped_and_pasted(app: AppPage, photos: list[Path]) -> None:
    app.open()
    for kind in ("dragEnter", "dragOver", "drop"):
        files = {"items": [], "files": [str(photos[1])], "dragOperationsMask": 1}
        app.driver.execute_cdp_cmd("Input.dispatchDragEvent", {"type": kind, "x": 500, "y": 300, "data": files})
    app.wait_for_state("found")
    assert app.result_ids[0] == photos[1].stem
    app.driver.execute_cdp_cmd(
        "Browser.grantPermissions",
        {"origin": app.url, "permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]},
    )
    # A page may write to the clipboard only while it has the focus, which a window without a screen may lack.
    app.driver.execute_cdp_cmd("Emulation.setFocusEmulationEnabled", {"enabled": True})
    # Browsers copy pictures as PNG.
    failure = app.driver.execute_async_script(
        """const [id, done] = arguments;
        fetch(`v1/galleries/objects/items/${id}/photo`).then(answer => answer.blob()).then(createImageBitmap)
          .then(bitmap => {
            const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
            canvas.getContext('2d').drawImage(bitmap, 0, 0);
            return canvas.convertToBlob({type: 'image/png'});
          })
          .then(png => navigator.clipboard.write([new ClipboardItem({'image/png': png})]))
          .then(() => done(null), error => done(String(error)));""",
        photos[2].stem,
    )
    assert failure is None
    ActionChains(app.driver).key_down(Keys.CONTROL).send_keys("v").key_up(Keys.CONTROL).perform()
    app.until(lambda: app.result_ids[0] == photos[2].stem)


def test_a_crop_is_drawn_with_the_mouse_and_pulled_with_a_finger(app: AppPage, photos: list[Path]) -> None:
    app.open()
    app.search(photos[0])
    searches = _searches(app)
    box = app.driver.execute_script(
        "const {left, top, width, height} = document.querySelector('#crop-layer').getBoundingClientRect();"
        "return [left, top, width, height]"
    )

    def at(across: float, down: float) -> tuple[int, int]:
        return round(box[0] + across * box[2]), round(box[1] + down * box[3])

    mouse = ActionChains(app.driver)
    mouse.w3c_actions.pointer_action.move_to_location(*at(0.2, 0.2))
    mouse.w3c_actions.pointer_action.pointer_down()
    mouse.w3c_actions.pointer_action.move_to_location(*at(0.5, 0.5))
    mouse.w3c_actions.pointer_action.move_to_location(*at(0.8, 0.7))
    mouse.w3c_actions.pointer_action.pointer_up()
    mouse.perform()
    assert _crop(app) == pytest.approx((0.2, 0.2, 0.6, 0.5), abs=0.02)
    app.until(lambda: _searches(app) > searches and app.state in {"found", "nothing"})
    searches = _searches(app)
    # The finger pulls the lower right corner inwards.
    for kind, point in (
        ("touchStart", (0.8, 0.7)),
        ("touchMove", (0.7, 0.65)),
        ("touchMove", (0.6, 0.6)),
        ("touchEnd", None),
    ):
        touched = [] if point is None else [dict(zip("xy", at(*point), strict=True))]
        app.driver.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": kind, "touchPoints": touched})
    assert _crop(app) == pytest.approx((0.2, 0.2, 0.4, 0.4), abs=0.02)
    app.until(lambda: _searches(app) > searches and app.state in {"found", "nothing"})


def _crop(app: AppPage) -> tuple[float, ...]:
    style = app.driver.execute_script(
        "const {left, top, width, height} = document.querySelector('#crop').style; return [left, top, width, height]"
    )
    return tuple(float(side.rstrip("%")) / 100 for side in style)


def _searches(app: AppPage) -> int:
    names = app.driver.execute_script("return performance.getEntriesByType('resource').map(each => each.name)")
    return sum("/search?" in name for name in names)


# Storage, memory and threads of the device


def test_a_full_storage_is_named_and_the_search_goes_on(app: AppPage, photos: list[Path]) -> None:
    app.driver.get(f"{app.url}/version")
    app.driver.execute_cdp_cmd("Storage.overrideQuotaForOrigin", {"origin": app.url, "quotaSize": 1_000})
    app.open()
    app.wait_for_notice("not-kept")
    assert "has no room to keep the encoder" in app.text("#notice-title")
    assert app.search(photos[0])[0] == photos[0].stem
    assert _fact(app, "Kept for the next visit") == "no"
    # With room it is kept at the next visit.
    app.driver.execute_cdp_cmd("Storage.overrideQuotaForOrigin", {"origin": app.url})
    app.open()
    assert not app.at("#notice").is_displayed()
    assert _fact(app, "Kept for the next visit") == "yes"


def _fact(app: AppPage, name: str) -> str:
    app.click("#open-settings")
    facts = app.driver.execute_script(
        "return [...document.querySelectorAll('#encoder-facts dt')].map(e => [e.textContent, e.nextSibling.textContent])"
    )
    app.click("#settings-close")
    return str(dict(facts).get(name))


def test_an_encoder_beyond_the_memory_is_named(app: AppPage, proxy: Proxy) -> None:
    def huge(target: str, body: bytes) -> bytes:
        if "/encoders/best" not in target:
            return body
        return json.dumps({**json.loads(body), "size": 2**52}).encode()

    proxy.change = huge
    app.open(state="failed")
    app.wait_for_notice("out-of-memory")
    assert app.text("#notice-title") == "Too little memory"
    # It asked for a smaller one, once.
    asked = [request.target for request in proxy.recorded if "/encoders/best" in request.target]
    assert len(asked) == 2 and "max_bytes" in asked[1]
    assert app.at("#retry").is_enabled()


def test_a_file_that_is_no_encoder_is_refused_in_plain_words(app: AppPage, proxy: Proxy) -> None:
    proxy.change = lambda target, body: b"<html>" + body[6:] if "/file" in target else body
    app.open(state="failed")
    app.wait_for_notice("not-an-encoder")
    assert app.text("#notice-title") == "The encoder cannot be used"
    assert "not an ONNX file" in app.text("#notice-reason")


def test_an_encoder_that_does_not_get_ready_is_given_up(app: AppPage, proxy: Proxy) -> None:
    proxy.hangs = lambda request: request.target.endswith(".wasm")
    app.driver.get(f"{app.url}/")
    said = app.driver.execute_async_script(
        """const done = arguments[0];
        import(new URL('page/askew-client.js', document.baseURI)).then(async askew => {
          const client = new askew.AskewClient(document.baseURI);
          const {file} = await new askew.EncoderStore(client).fetch('objects', await client.bestEncoder('objects'));
          await askew.Encoder.open(file, {files: askew.ENGINE_FILES, timeLimit: 500});
        }).then(() => done(''), error => done(`${error.kind}: ${error.message}`));"""
    )
    assert said == "open-timeout: The encoder student@1 was not ready after 1 s. Close other tabs and try again."


def test_an_encoder_that_outgrows_its_memory_is_named(small: RunningServer, tmp_path: Path) -> None:
    # Pages of 64 kB: less than the engine itself takes.
    with open_browser(tmp_path / "profile", "--js-flags=--wasm-max-mem-pages=200") as limited:
        app = AppPage(limited, small.url)
        app.open(state="failed")
        app.wait_for_notice("out-of-memory")


def test_where_threads_hang_one_thread_takes_over_and_is_remembered(
    browser: Browser, small_data: Path, student_file: Path, tmp_path: Path, photos: list[Path]
) -> None:
    with isolated_server(small_data, student_file, tmp_path) as server:
        proxy = Proxy(server.url)
        asked: list[str] = []

        def silent_threads(request: Recorded) -> Answer | None:
            if not request.target.endswith(".mjs"):
                return None
            module = server.http.get(request.target)
            # Each thread of the engine is a worker that loads the engine's module once more; an empty one never answers.
            is_thread = request.headers.get("Sec-Fetch-Dest") == "worker"
            if is_thread:
                asked.append(request.target)
            headers = {**_policies(module.headers), "Cache-Control": "no-store"}
            return Answer(200, b"" if is_thread else module.content, headers)

        proxy.instead = silent_threads
        app = AppPage(browser, proxy.url)
        try:
            app.open()
            assert asked
            assert app.search(photos[0])[0] == photos[0].stem
            assert _fact(app, "Threads") == "1"
            asked.clear()
            app.open()
            assert not asked
        finally:
            proxy.close()


def test_threads_are_used_on_an_isolated_page(
    browser: Browser, small_data: Path, student_file: Path, tmp_path: Path, photos: list[Path]
) -> None:
    with isolated_server(small_data, student_file, tmp_path) as server:
        app = AppPage(browser, server.url)
        app.open()
        assert app.driver.execute_script("return crossOriginIsolated") is True
        assert _fact(app, "Threads") == str(min(4, os.cpu_count() or 1))
        assert app.search(photos[2])[0] == photos[2].stem


def _policies(headers: Mapping[str, str]) -> dict[str, str]:
    return {
        name: value for name, value in headers.items() if name.startswith(("content-type", "content-sec", "cross-"))
    }


def isolated_server(small_data: Path, student_file: Path, tmp_path: Path) -> RunningServer:
    shutil.copytree(small_data, tmp_path / "data")
    server = RunningServer(
        tmp_path / "data", "--gallery", "objects", environment={"ASKEW_CROSS_ORIGIN_ISOLATION": "true"}
    )
    admit(server, student_file)
    return server


# Huge photos, and a clock that is wrong


def test_a_photo_of_100_megapixels_is_refused_without_being_decoded(app: AppPage, tmp_path: Path) -> None:
    Image.new("L", (10_000, 10_000), 128).save(tmp_path / "huge.jpg", quality=10)
    app.open()
    before = _memory(app)
    app.choose(tmp_path / "huge.jpg")
    app.wait_for_notice("photo-too-large")
    assert "10000 × 10000 = 100.0 megapixels" in app.text("#notice-reason")
    assert _memory(app) - before < 100_000_000


def _memory(app: AppPage) -> int:
    """Bytes that the browser's processes hold alone."""
    service = app.driver.service.process
    assert service is not None
    return sum(each.memory_full_info().uss for each in psutil.Process(service.pid).children(recursive=True))


def test_a_wrong_clock_changes_nothing(app: AppPage, photos: list[Path]) -> None:
    wrong = "Date.now = () => 0; const Right = Date; Date = class extends Right { constructor() { super(0); } };"
    added = app.driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": wrong})
    try:
        app.open()
        assert app.driver.execute_script("return new Date().getFullYear()") == 1970
        assert app.search(photos[0])[0] == photos[0].stem
        app.open()
        assert _fact(app, "Kept for the next visit") == "yes"
    finally:
        app.driver.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", added)


# Several encoders on one origin


def test_two_galleries_of_one_origin_keep_their_encoders(
    browser: Browser, served: RunningServer, student_file: Path, tmp_path: Path
) -> None:
    admit(served, student_file)
    teacher = make_encoder(tmp_path / "other-teacher.onnx", role="teacher", seed=7, name="other-teacher")
    other = make_encoder(tmp_path / "other.onnx", role="student", seed=7, noise=0.1, name="other")
    _copy_gallery(served, teacher, other)
    proxy = Proxy(served.url)
    app = AppPage(browser, proxy.url)
    try:
        app.open()
        for name in ("others", "objects", "others"):
            app.driver.execute_script(
                "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('change'))",
                app.at("#gallery"),
                name,
            )
            app.until(lambda name=name: _fact(app, "Encoder") == {"others": "other@1", "objects": "student@1"}[name])  # type: ignore[misc]
        fetched = [request.target for request in proxy.recorded if "/file" in request.target]
        assert len(fetched) == 2, fetched
    finally:
        proxy.close()


def _copy_gallery(served: RunningServer, teacher: Path, student: Path) -> None:
    """A second gallery, of another space, with the photos of the first."""
    created = served.http.put("/v1/galleries/others", content=teacher.read_bytes())
    assert created.status_code in {200, 201}, created.text
    for item in served.http.get("/v1/galleries/objects/items").json()["items"]:
        photo = served.http.get(f"/v1/galleries/objects/items/{item['id']}/photo").content
        answer = served.http.put(
            f"/v1/galleries/others/items/{item['id']}", content=photo, headers={"Content-Type": "image/jpeg"}
        )
        assert answer.status_code == 200, answer.text
    answer = served.http.post("/v1/galleries/others/encoders", content=student.read_bytes())
    assert answer.status_code == 201, answer.text
