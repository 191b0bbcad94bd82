"""The web app without a network: it starts, searches wait or go to the gallery's copy on the device, versions never mix."""

from __future__ import annotations

import base64
import hashlib
import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from askew_client import Client
from askew_client.encoding.encoder import Encoder
from askew_client.offline.pack import Pack
from tests.browser.app_page import AppPage
from tests.browser.conftest import DEMO_PHOTOS, Browser, open_browser
from tests.browser.proxy import Proxy
from tests.browser.test_layout import set_colours, violations
from tests.support.paths import DEMO, ROOT

pytestmark = pytest.mark.browser

PAGE = ROOT / "server" / "askew_server" / "http" / "page"
TAJ_MAHAL = DEMO / "queries" / "taj-mahal.jpg"
STUDENT = DEMO / "encoders" / "student.onnx"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One browser for all: each test has an origin of its own, the port of its proxy."""
    with open_browser(tmp_path_factory.mktemp("offline") / "profile", keeps_app=True) as browser:
        browser.driver.set_script_timeout(60)
        yield browser


@pytest.fixture
def proxy(url: str) -> Iterator[Proxy]:
    proxy = Proxy(url)
    yield proxy
    proxy.close()


def installed(browser: Browser, proxy: Proxy) -> AppPage:
    """The app, open and kept on the device."""
    app = AppPage(browser, proxy.url)
    app.open()
    app.until(lambda: app.at("#installation").get_attribute("data-installation") == "installed")
    return app


def run(app: AppPage, script: str, *arguments: Any) -> Any:
    """The value of an async function's body."""
    answer = app.driver.execute_async_script(
        "const done = arguments[arguments.length - 1], args = [...arguments].slice(0, -1);"
        f"(async () => {{{script}}})().then(value => done({{value}}), error => done({{error: String(error)}}));",
        *arguments,
    )
    assert "error" not in answer, answer["error"]
    return answer.get("value")


def press_if_there(app: AppPage, selector: str) -> None:
    """Press what may just have gone by itself."""
    app.driver.execute_script("document.querySelector(arguments[0]).click()", selector)


# The app itself


@pytest.mark.parametrize("prefix", ["", "/museum/guide"])
def test_it_starts_without_a_network(browser: Browser, url: str, prefix: str) -> None:
    proxy = Proxy(url, prefix)
    try:
        installed(browser, proxy)
        proxy.is_cut = True
        proxy.recorded.clear()
        app = AppPage(browser, proxy.url)
        app.open("?from=a-link#results")
        assert app.at("#network").is_displayed()
        assert app.text("#network-badge") == "Offline"
        assert not app.at("#notice").is_displayed()
        # Pages that are not the app's are the network's business.
        asked = "return fetch(args[0]).then(() => 'answered', () => 'failed');"
        for path in ("docs", "admin", "v1/galleries", "metrics", "page/askew-client.js"):
            assert run(app, asked, path) == "failed", path
        assert run(app, "return (await fetch('page/manifest.webmanifest')).status") == 200
        proxy.is_cut = False
        press_if_there(app, "#try-connection")
        app.until(lambda: not app.at("#network").is_displayed())
        app.until(lambda: app.result_ids)
    finally:
        proxy.close()


def test_only_the_apps_own_files_are_kept_and_nothing_that_a_key_showed(browser: Browser, proxy: Proxy) -> None:
    app = installed(browser, proxy)
    app.search(TAJ_MAHAL)
    kept = run(
        app,
        """const found = [];
        for (const name of await caches.keys()) {
          for (const request of await (await caches.open(name)).keys()) found.push([name, new URL(request.url).pathname]);
        }
        return found;""",
    )
    apps = {path for name, path in kept if name.startswith("askew-app:")}
    listed = re.findall(r'\["([^"]+)","[\w+/]{43}="\]', (PAGE / "sw.js").read_text())
    assert apps == {f"/{address.removeprefix('./')}" for address in listed}
    assert all(name.startswith("askew-encoders") for name, _ in kept if not name.startswith("askew-app:"))
    # With a key, even the app's own files come from the network.
    proxy.recorded.clear()
    run(app, "await fetch('page/manifest.webmanifest', {headers: {Authorization: 'Bearer ask_x'}});")
    assert [request.target for request in proxy.recorded] == ["/page/manifest.webmanifest"]


def test_the_first_visit_fetches_the_engine_once(browser: Browser, proxy: Proxy) -> None:
    installed(browser, proxy)
    fetched = [request.target for request in proxy.recorded if request.target.endswith(".wasm")]
    assert len(fetched) == 1


def test_a_new_version_never_mixes_with_the_old_one(browser: Browser, proxy: Proxy, tmp_path: Path) -> None:
    old, new = make_build(tmp_path / "old", "a"), make_build(tmp_path / "new", "b")
    proxy.build = tmp_path / "old"
    app = installed(browser, proxy)
    first_tab = app.driver.current_window_handle
    build = "return document.documentElement.dataset.build"
    app.driver.switch_to.new_window("tab")
    other = AppPage(browser, proxy.url)
    other.open()
    other_tab = app.driver.current_window_handle
    proxy.build = tmp_path / "new"
    run(other, "await (await navigator.serviceWorker.ready).update();")
    other.until(lambda: other.at("#new-version").is_displayed())
    # The server has the new version alone; open pages, and pages that open now, stay with the old one.
    assert run(other, f"return (await fetch('page/{old}')).status") == 200
    other.open()
    assert app.driver.execute_script(build) == "a"
    other.until(lambda: other.at("#new-version").is_displayed())
    other.click("#take-over")
    for tab in (other_tab, first_tab):
        app.driver.switch_to.window(tab)
        app.until(lambda: app.driver.execute_script(build) == "b")
        app.wait_for_state("ready")
    kept = run(
        app,
        "const names = (await caches.keys()).filter(name => name.startsWith('askew-app:'));"
        "return [names.length, (await (await caches.open(names[0])).keys()).map(each => each.url)];",
    )
    assert kept[0] == 1
    assert [url for url in kept[1] if old in url] == []
    assert len([url for url in kept[1] if new in url]) == 1
    app.driver.switch_to.window(other_tab)
    app.driver.close()
    app.driver.switch_to.window(first_tab)


def make_build(folder: Path, name: str) -> str:
    """A build whose pages say `name`; the name of its main script."""
    shutil.copytree(PAGE, folder)
    (script,) = folder.glob("app-*.js")
    renamed = f"app-build--{name}.js"
    code = script.read_bytes() + f"\ndocument.documentElement.dataset.build='{name}';\n".encode()
    (folder / renamed).write_bytes(code)
    script.unlink()
    html = (folder / "index.html").read_text().replace(script.name, renamed)
    (folder / "index.html").write_text(html)
    worker = (folder / "sw.js").read_text().replace(script.name, renamed)
    for address, content in ((f"page/{renamed}", code), ("./", html.encode())):
        digest = base64.b64encode(hashlib.sha256(content).digest()).decode()
        worker, count = re.subn(rf'\["{re.escape(address)}","[^"]+"\]', lambda _: f'["{address}","{digest}"]', worker)  # noqa: B023
        assert count == 1
    (folder / "sw.js").write_text(worker)
    return renamed


def test_files_that_are_not_those_of_the_list_are_not_kept(browser: Browser, proxy: Proxy, tmp_path: Path) -> None:
    make_build(tmp_path / "mixed", "c")
    # A server in the middle of an update: the worker of one version, a page of another.
    (tmp_path / "mixed" / "index.html").write_bytes((PAGE / "index.html").read_bytes())
    (script,) = PAGE.glob("app-*.js")
    shutil.copy(script, tmp_path / "mixed")
    proxy.build = tmp_path / "mixed"
    app = AppPage(browser, proxy.url)
    app.open()
    app.until(lambda: app.at("#installation").get_attribute("data-installation") == "failed")
    assert run(app, "return (await caches.keys()).filter(name => name.startsWith('askew-app:'))") == []
    assert app.search(TAJ_MAHAL)[0] == "taj-mahal"


# The gallery's copy on the device


@pytest.fixture(scope="module")
def museum(url: str) -> Iterator[Client]:
    """A client of the server, whose gallery may be kept on devices."""
    with Client(url) as client:
        allow(url, ["title", "author", "licence", "source"])
        yield client
        # What another test has withdrawn already is gone.
        httpx.delete(f"{url}/v1/galleries/demo/offline-pack")


def allow(url: str, fields: list[str]) -> None:
    """Allow a pack, and wait until it is made."""
    path = f"{url}/v1/galleries/demo/offline-pack"
    assert (
        httpx.put(path, json={"fields": fields, "thumbnails": 512, "refresh_minutes": 0}, timeout=60).status_code == 202
    )
    wait_for(lambda: (found := httpx.get(path)).status_code == 200 and found.json()["is_current"])


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def keep_gallery(app: AppPage) -> None:
    """Keep the copy that the card offers."""
    app.until(lambda: app.at("#offline-card").is_displayed())
    app.click("#offline-card [data-action='keep']")
    app.until(lambda: offline_state(app) == "kept")


def offline_state(app: AppPage) -> str | None:
    return app.at("#offline-settings").get_attribute("data-offline")


def test_searches_go_to_the_copy_and_find_what_the_python_client_finds_in_it(
    browser: Browser, proxy: Proxy, museum: Client, url: str, tmp_path: Path
) -> None:
    file = tmp_path / "demo.pack"
    file.write_bytes(httpx.get(f"{url}/v1/galleries/demo/offline-pack/file").content)
    pack, student = Pack.open(file), Encoder(STUDENT)
    app = installed(browser, proxy)
    app.resize(360, 740)
    # With less motion: while a dialog rises, its colours are not yet what they will be.
    set_colours(app, "light")
    app.until(lambda: app.at("#offline-card").is_displayed())
    assert violations(app) == []
    keep_gallery(app)
    app.click("#open-settings")
    app.until(lambda: app.at("#settings").is_displayed())
    assert violations(app) == []
    proxy.is_cut = True
    app.open()
    app.until(lambda: len(app.result_ids) == DEMO_PHOTOS)
    assert violations(app) == []
    assert app.text("#network-badge").startswith("Offline · recall ")
    app.driver.execute_script(
        "arguments[0].value = 'off'; arguments[0].dispatchEvent(new Event('change', {bubbles: true}))",
        app.at("#threshold"),
    )
    queries = [TAJ_MAHAL, *sorted((DEMO / "gallery").glob("*.jpg"))[::37]]
    for query in queries:
        wanted = pack.search(student.encode(query), limit=10)
        found = app.search(query)[:10]
        scores = {hit.id: hit.score for hit in wanted}
        for mine, theirs in zip(found, wanted, strict=True):
            # Two items may swap their places if their scores are nearly equal.
            assert abs(scores.get(mine, -1) - theirs.score) <= 1e-3, (query, mine, theirs.id)
    assert app.at("#figures").get_attribute("data-searched-by") == "device"
    assert "sent 0 bytes" in app.text("#figures-costs")
    # Pictures, credits and what is like an item come from the copy, too.
    shown = "return [...document.querySelectorAll('#results img')].filter(each => each.naturalWidth > 0).length"
    app.until(lambda: app.driver.execute_script(shown) > 3)
    first = app.result_ids[0]
    app.click("#results [data-id] button")
    app.until(lambda: app.at("#details").is_displayed())
    assert "CC" in app.text("#details-facts") or "public" in app.text("#details-facts")
    app.click("#more-like-this")
    app.until(lambda: "Like " in app.text("#results-heading"))
    assert first not in app.result_ids and len(app.result_ids) == DEMO_PHOTOS - 1


def test_the_threshold_holds_in_the_copy(browser: Browser, proxy: Proxy, museum: Client, tmp_path: Path) -> None:
    app = AppPage(browser, proxy.url)
    app.open()
    keep_gallery(app)
    proxy.is_cut = True
    assert app.search(TAJ_MAHAL) == ["taj-mahal"]
    noise = np.random.default_rng(0).integers(0, 256, (300, 300, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    app.choose(tmp_path / "noise.png")
    app.wait_for_state("nothing", "found", "failed")
    assert app.state == "nothing"


def test_a_copy_is_updated_and_deleted_when_the_gallery_is_withdrawn(
    browser: Browser, proxy: Proxy, museum: Client, url: str
) -> None:
    app = AppPage(browser, proxy.url)
    app.open()
    keep_gallery(app)
    student = Encoder(STUDENT)
    vectors = student.encode([TAJ_MAHAL])
    museum.upsert(["new"], vectors, [{"title": "New here"}], gallery="demo", space=student.space_id)
    try:
        httpx.post(f"{url}/v1/galleries/demo/offline-pack")
        wait_for(lambda: httpx.get(f"{url}/v1/galleries/demo/offline-pack").json()["is_current"])
        proxy.recorded.clear()
        app.open()
        size = httpx.get(f"{url}/v1/galleries/demo/offline-pack").json()["size"]
        app.until(lambda: f"{DEMO_PHOTOS + 1} items" in app.text("#offline-settings"))
        assert asked_bytes(proxy) < size / 2
        proxy.is_cut = True
        app.open()
        assert app.search(TAJ_MAHAL)[0] == "new"
        assert app.text("#results [data-id] .title") == "New here"
        proxy.is_cut = False
    finally:
        httpx.delete(f"{url}/v1/galleries/demo/items/new")
    httpx.delete(f"{url}/v1/galleries/demo/offline-pack")
    app.open()
    app.until(lambda: offline_state(app) == "none")
    assert "its copy was deleted from this device" in app.text("#offline-settings")
    kept = (
        "return (await Promise.all((await caches.keys()).filter(name => name.startsWith('askew-packs'))"
        ".map(async name => (await (await caches.open(name)).keys()).length))).reduce((a, b) => a + b, 0);"
    )
    assert run(app, kept) == 0


def asked_bytes(proxy: Proxy) -> int:
    """How many bytes of packs were asked for."""
    ranges = []
    for request in proxy.recorded:
        if request.target.endswith("/offline-pack/file"):
            headers = {name.lower(): value for name, value in request.headers.items()}
            found = re.fullmatch(r"bytes=(\d+)-(\d+)", headers["range"])
            assert found is not None
            ranges.append(int(found[2]) + 1 - int(found[1]))
    assert ranges
    return sum(ranges)


# Searches that wait

_QUERIES = """
  const database = await new Promise((resolve, reject) => {
    const opening = indexedDB.open(args[0]);
    opening.onsuccess = () => resolve(opening.result);
    opening.onerror = () => reject(opening.error);
  });
  const request = database.transaction('queries').objectStore('queries').getAll();
  const kept = await new Promise(resolve => { request.onsuccess = () => resolve(request.result); });
  database.close();
  return kept.map(each => Object.fromEntries(Object.entries(each).map(([name, value]) =>
    [name, value instanceof Uint8Array ? ['bytes', value.length] : value instanceof Blob ? 'BLOB' : value])));
"""


def test_a_search_waits_as_a_vector_and_is_sent_when_the_network_is_back(browser: Browser, proxy: Proxy) -> None:
    app = installed(browser, proxy)
    proxy.is_cut = True
    app.choose(TAJ_MAHAL)
    app.wait_for_state("waiting")
    assert "Kept as a vector; it will be searched when the network is back." in app.text("#results-status")
    assert app.at("#privacy").text == "Your photo stays on this device."
    # Another crop of the photo replaces it.
    app.click("#start-crop")
    app.until(lambda: [each["label"] for each in run(app, _QUERIES, "askew:/")] == ["Part of taj-mahal.jpg"])
    app.click("#whole-photo")
    app.until(lambda: [each["label"] for each in run(app, _QUERIES, "askew:/")] == ["taj-mahal.jpg"])
    (kept,) = run(app, _QUERIES, "askew:/")
    assert kept["vector"] == ["bytes", 2 * Encoder(STUDENT).manifest.dim]
    assert set(kept) == {
        "id", "gallery", "space", "encoder", "vector", "maxFalseMatch", "label", "time", "state", "hits", "reason"
    }  # fmt: skip
    assert kept["state"] == "waiting"

    app.open()
    assert app.at("#open-earlier").get_attribute("data-waiting") == "1"
    assert proxy.bodies_sent[-1:] != [] and len(proxy.bodies_sent[-1]) == kept["vector"][1]
    proxy.recorded.clear()
    proxy.is_cut = False
    press_if_there(app, "#try-connection")
    app.until(lambda: app.at("#open-earlier").get_attribute("data-waiting") == "0")
    assert [len(body) for body in proxy.bodies_sent] == [kept["vector"][1]]
    set_colours(app, "light")
    app.click("#open-earlier")
    app.until(lambda: app.at("#earlier").is_displayed())
    assert violations(app) == []
    assert "hit" in app.text("#earlier-list")
    app.click("#earlier-list [data-action='show']")
    app.wait_for_state("found")
    assert app.result_ids[0] == "taj-mahal"
    (answered,) = run(app, _QUERIES, "askew:/")
    assert answered["state"] == "answered"
    assert answered.get("vector") is None
    app.click("#open-earlier")
    app.click("#earlier-list [data-action='delete']")
    app.until(lambda: not app.at("#earlier").is_displayed())
    assert run(app, _QUERIES, "askew:/") == []


def test_a_photo_that_waits_on_the_page_gets_its_hits_there(browser: Browser, proxy: Proxy) -> None:
    app = AppPage(browser, proxy.url)
    app.open()
    proxy.is_cut = True
    app.choose(TAJ_MAHAL)
    app.wait_for_state("waiting")
    proxy.is_cut = False
    # It comes by itself.
    app.wait_for_state("found")
    assert app.result_ids[0] == "taj-mahal"
