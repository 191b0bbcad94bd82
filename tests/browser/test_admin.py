"""The operator's view at /admin: keys, galleries, items, encoders, jobs, aliases, snapshots, live charts."""

from __future__ import annotations

import base64
import io
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest
from PIL import Image
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from askew_client.encoding.encoder import Encoder
from tests.browser.admin_page import AdminPage, send_file
from tests.browser.conftest import open_browser
from tests.browser.proxy import Proxy
from tests.browser.test_layout import PICTURES, set_colours, violations, write_small
from tests.support.job_waiting import wait_for_job
from tests.support.paths import DEMO
from tests.support.running_server import RunningServer, run_askew
from tests.support.small_encoders import make_encoder

pytestmark = pytest.mark.browser

MARKUP = "<img src=x onerror=alert(1)><b>bold</b>"
PHOTOS = sorted((DEMO / "gallery").glob("*.jpg"))[:24]
FIRST, SECOND = PHOTOS[0].stem, PHOTOS[1].stem
VIEWS = (
    "#/galleries", "#/galleries/museum", "#/galleries/museum/items", f"#/galleries/museum/items/{FIRST}",
    "#/galleries/museum/encoders", "#/galleries/museum/snapshots", "#/galleries/museum/offline-pack", "#/jobs", "#/aliases", "#/keys", "#/live",
)  # fmt: skip


@dataclass(frozen=True)
class Museum:
    """A server with keys, the gallery `museum` with photos and a student, and the small gallery `spare`."""

    url: str
    http: httpx.Client
    key: str
    limited: str
    encoders: Path

    def upload(self, gallery: str, photos: list[Path], payloads: dict[str, object] | None = None) -> None:
        files = [("photo", (path.stem, path.read_bytes(), "image/jpeg")) for path in photos]
        data = {"payloads": json.dumps(payloads or {})}
        job = self.http.post(f"/v1/galleries/{gallery}/items/photos", files=files, data=data).json()
        assert wait_for_job(self.http, job["id"])["state"] == "done"

    def search(self, count: int, noise: float = 0.0) -> None:
        """Search for some of the photos. `noise`: how far off their vectors are."""
        encoder = Encoder(self.encoders / "student.onnx")
        random = np.random.default_rng(count)
        headers = {
            "Content-Type": "application/octet-stream", "Askew-Space": encoder.space_id, "Askew-Dtype": "f16le",
            "Askew-Encoder": "student@1",
        }  # fmt: skip
        for place in range(count):
            vector = encoder.encode(PHOTOS[place % 6]) + noise * random.standard_normal(encoder.manifest.dim)
            raw = (vector / np.linalg.norm(vector)).astype("<f2").tobytes()
            self.http.post("/v1/galleries/museum/search", content=raw, headers=headers).raise_for_status()

    def search_from_a_foreign_space(self) -> None:
        foreign = {"vector": [1.0] + [0.0] * 63, "space": "sp1-" + "0" * 32}
        assert self.http.post("/v1/galleries/museum/search", json=foreign).status_code == 409


@pytest.fixture(scope="module")
def museum(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Museum]:
    folder = tmp_path_factory.mktemp("museum")
    data = folder / "data"
    payloads: dict[str, object] = {path.stem: {"title": path.stem, "room": at % 4} for at, path in enumerate(PHOTOS)}
    payloads[FIRST] = {"title": MARKUP, "room": 9, MARKUP: MARKUP, "nested": {"a": [1, None]}}
    teacher = make_encoder(folder / "teacher.onnx", role="teacher").read_bytes()
    student = make_encoder(folder / "student.onnx", role="student", noise=0.3).read_bytes()
    make_encoder(folder / "later.onnx", role="student", noise=0.2, name="later")
    make_encoder(folder / "permuted.onnx", role="student", permuted=True, name="permuted")
    key = run_askew("key", "create", "operator", "--scope", "admin", "--data", data).stdout.strip()
    binary = {"Content-Type": "application/octet-stream"}
    with (
        RunningServer(data, "--gallery", "museum") as server,
        httpx.Client(base_url=server.url, headers={"api-key": key}, timeout=30) as http,
    ):
        limits = {"name": "curator", "scopes": ["admin"], "galleries": ["museum"]}
        made = Museum(server.url, http, key, http.post("/v1/keys", json=limits).json()["key"], folder)
        for gallery in ("museum", "spare"):
            http.put(f"/v1/galleries/{gallery}", content=teacher, headers=binary).raise_for_status()
        made.upload("museum", PHOTOS, payloads)
        http.post("/v1/galleries/museum/encoders", content=student, headers=binary).raise_for_status()
        yield made


@pytest.fixture(scope="module")
def page(museum: Museum, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AdminPage]:
    """The view in one browser, with the operator's key."""
    with open_browser(tmp_path_factory.mktemp("admin") / "profile", "--force-device-scale-factor=1") as browser:
        opened = AdminPage(browser, museum.url)
        opened.enter_key(museum.key)
        yield opened


@pytest.fixture
def admin(page: AdminPage, museum: Museum) -> AdminPage:
    """The view with the operator's key, on a desk, whatever the test before left."""
    page.resize(1280, 900)
    if page.state == "key" or museum.key not in str(page.driver.execute_script("return Object.values(sessionStorage)")):
        page.enter_key(museum.key)
    return page


def photo(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


def test_the_key_is_asked_for_and_kept_for_the_session_alone(admin: AdminPage, museum: Museum) -> None:
    admin.enter_key("ask_nobody_" + "x" * 43, state="key")
    assert "unknown or revoked" in admin.text("#main [role=alert]")
    searching = museum.http.post("/v1/keys", json={"name": "phone", "scopes": ["search"]}).json()
    admin.enter_key(searching["key"], state="key")
    assert "scope admin; this key has search" in admin.text("#main [role=alert]")
    museum.http.delete(f"/v1/keys/{searching['id']}")

    admin.browser.requests()
    admin.enter_key(museum.key)
    assert admin.row_ids == ["museum", "spare"]
    kept = "return [JSON.stringify(localStorage), document.cookie, location.href, document.documentElement.outerHTML]"
    assert not any(museum.key in str(each) for each in admin.driver.execute_script(kept))
    assert museum.key not in str([request["url"] for request in admin.browser.requests()])
    admin.driver.refresh()
    admin.wait_for_state("ready")
    admin.click("#forget")
    admin.wait_for_state("key")
    assert admin.driver.execute_script("return JSON.stringify(sessionStorage)") == "{}"
    admin.driver.refresh()
    admin.wait_for_state("key")


def test_a_limited_key_sees_its_gallery_and_a_sentence_for_the_rest(admin: AdminPage, museum: Museum) -> None:
    admin.enter_key(museum.limited)
    assert admin.row_ids == ["museum"]
    assert "limited to museum" in admin.text("#main")
    admin.visit("#/galleries/museum/items")
    assert len(admin.item_ids) == len(PHOTOS)
    for view in ("#/aliases", "#/keys", "#/galleries/spare"):
        admin.visit(view)
        assert "It needs an admin key without limits." in admin.text("#main .limited"), view
    admin.visit("#/live")
    assert "The live charts count the searches of all galleries" in admin.text("#main .limited")
    assert admin.all("svg.chart") == []
    admin.visit("#/galleries/museum/snapshots")
    assert "Restoring makes another one" in admin.text("#main")


def test_galleries_and_their_index(admin: AdminPage, museum: Museum) -> None:
    admin.visit("#/galleries")
    museums_row = admin.text("tr[data-id=museum]")
    for shown in ("default", str(len(PHOTOS)), "ready", "exact", "teacher@1", "sp1-"):
        assert shown in museums_row
    admin.press("museum")
    admin.until(lambda: admin.text("h1") == "museum")
    assert museum.http.get("/v1/galleries/museum").json()["space"] in admin.text("#main")
    admin.press("Rebuild")
    admin.wait_for_toast("Rebuild the index: done")
    admin.driver.back()
    admin.until(lambda: admin.text("h1") == "Galleries")


def test_items_are_filtered_and_markup_stays_text(admin: AdminPage) -> None:
    admin.visit("#/galleries/museum/items")
    assert len(admin.item_ids) == len(PHOTOS)
    admin.until(
        lambda: admin.driver.execute_script(
            "return [...document.querySelectorAll('.items img')].slice(0, 6).every(each => each.naturalWidth > 0)"
        )
    )
    admin.type_into(".filter-row input", "room")
    admin.choose_option(".filter-row select", "gte")
    admin.type_into(".filter-row input:last-of-type", "3")
    admin.click("#apply-filter")
    expected = [path.stem for place, path in enumerate(PHOTOS) if place == 0 or place % 4 == 3]
    admin.until(lambda: admin.item_ids == expected)
    admin.driver.refresh()
    admin.wait_for_state("ready")
    assert admin.item_ids == expected
    # Types are not converted, and the server says which it has; what was typed stays.
    admin.driver.execute_script("document.querySelector('details').open = true")
    admin.type_into("#filter-json", '{"field": "room", "eq": "three"}')
    admin.click("#apply-filter")
    admin.until(lambda: "number" in admin.text("#main .notice"))
    assert "three" in str(admin.at("#filter-json").get_property("value"))
    admin.press("Show all")
    admin.until(lambda: len(admin.item_ids) == len(PHOTOS))

    assert MARKUP in admin.text(f".items [data-id='{FIRST}']")
    admin.click(f".items [data-id='{FIRST}'] a")
    admin.until(lambda: bool(admin.all("#payload")) and bool(admin.all("#similar li")))
    assert admin.text("#payload").count(MARKUP) == 3
    assert admin.all("#payload img, #payload b, .items b") == []


def test_pages_of_items_of_a_gallery_that_is_described_elsewhere(admin: AdminPage, museum: Museum) -> None:
    teacher = Encoder(museum.encoders / "teacher.onnx").manifest
    manifest = teacher.model_dump(mode="json", exclude_none=True)
    museum.http.put("/v1/galleries/vectors", json={"teacher": manifest}).raise_for_status()
    ids = [f"a/b {number:02}?#%" for number in range(60)]
    items = [{"id": id_, "vector": [1.0] + [0.0] * 63, "payload": {"number": 2**60}} for id_ in ids]
    museum.http.put("/v1/galleries/vectors/items", json={"space": teacher.space_id, "items": items}).raise_for_status()
    admin.visit("#/galleries/vectors/items")
    assert admin.item_ids == ids[:48]
    assert "it cannot describe photos" in admin.text(".upload")
    admin.press("Next page")
    admin.until(lambda: admin.item_ids == ids[48:])
    admin.press("Previous page")
    admin.until(lambda: admin.item_ids == ids[:48])
    admin.driver.back()
    admin.until(lambda: admin.item_ids == ids[48:])
    admin.driver.refresh()
    admin.wait_for_state("ready")
    assert admin.item_ids == ids[48:]
    admin.press("First page")
    admin.until(lambda: admin.item_ids == ids[:48])
    admin.click(".items a")
    admin.until(lambda: admin.text("#main h2") == ids[0])
    # A browser would round this number: the payload is not for it to edit.
    assert admin.all("#edit-payload") == []
    assert "more digits than a browser keeps" in admin.text("#main")
    # Rounded, this filter would delete every item.
    one = {"id": "one", "vector": [1.0] + [0.0] * 63, "payload": {"number": 2**60 + 1}}
    museum.http.put("/v1/galleries/vectors/items", json={"space": teacher.space_id, "items": [one]}).raise_for_status()
    admin.visit("#/galleries/vectors/items")
    admin.type_into(".filter-row input", "number")
    admin.type_into(".filter-row input:last-of-type", str(2**60 + 1))
    admin.click("#apply-filter")
    assert "more digits than a browser keeps" in admin.text(".filter .problem")
    admin.type_into("#filter-json", json.dumps({"field": "number", "eq": 2**60 + 1}))
    admin.click("#apply-filter")
    admin.until(lambda: admin.item_ids == ["one"])
    admin.press("Delete all that match")
    admin.confirm("Delete", typed="vectors")
    admin.until(lambda: "No item matches" in admin.text("#main"))
    assert museum.http.get("/v1/galleries/vectors").json()["items"] == len(ids)
    museum.http.delete("/v1/galleries/vectors").raise_for_status()


def test_photos_that_are_dropped_become_items(admin: AdminPage, museum: Museum) -> None:
    admin.visit("#/galleries/spare/items")
    assert "This gallery is empty" in admin.text("#main")
    admin.drop({"dropped one": photo(PHOTOS[2]), "broken": base64.b64encode(b"\xff\xd8\xff no photo").decode()})
    admin.until(lambda: "2 photos" in admin.text("#upload-offer"))
    admin.type_into("#upload-offer textarea", '{"room": 7}')
    # How far the upload went is seen while it goes on.
    admin.driver.execute_script(
        "window.seen = []; new MutationObserver(() => window.seen.push(document.querySelector('#main .upload')?.textContent ?? ''))"
        ".observe(document.querySelector('#main'), {subtree: true, childList: true, characterData: true})"
    )
    admin.press("Upload 2 photos")
    admin.until(lambda: "1 described, 0 known already, 1 refused" in admin.text(".upload"))
    assert "broken: " in admin.text(".upload .notice")
    seen = " ".join(admin.driver.execute_script("return window.seen"))
    assert "Sending: " in seen
    assert "2 photos sent" in seen
    admin.press("Show the items")
    admin.until(lambda: admin.item_ids == ["dropped one"])
    admin.click(".items a")
    admin.until(lambda: "7" in admin.text("#payload"))

    admin.click("#edit-payload")
    admin.type_into("form textarea", '{"room": 8, "note": "moved"}')
    admin.press("Save")
    admin.until(lambda: "moved" in admin.text("#payload"))
    assert museum.http.get("/v1/galleries/spare/items/dropped one").json()["has_photo"]

    admin.visit("#/jobs")
    assert "done" in admin.text("tbody tr")
    admin.click("#delete-item") if admin.all("#delete-item") else admin.visit("#/galleries/spare/items/dropped%20one")
    admin.click("#delete-item")
    admin.press("Cancel", "dialog")
    assert museum.http.get("/v1/galleries/spare").json()["items"] == 1
    admin.click("#delete-item")
    admin.confirm("Delete")
    admin.until(lambda: "This gallery is empty" in admin.text("#main"))
    assert museum.http.get("/v1/galleries/spare").json()["items"] == 0


def test_items_are_selected_and_deleted_together(admin: AdminPage, museum: Museum) -> None:
    museum.upload("spare", PHOTOS[:4])
    admin.visit("#/galleries/spare/items")
    for box in admin.all(".item input[type=checkbox]")[:3]:
        admin.driver.execute_script("arguments[0].click()", box)
    assert "3 items selected" in admin.text(".selection")
    admin.click("#delete-selected")
    admin.confirm("Delete")
    admin.until(lambda: admin.item_ids == [PHOTOS[3].stem])


def test_a_job_is_followed_to_its_end(admin: AdminPage, museum: Museum) -> None:
    admin.visit("#/jobs")
    before = len(admin.row_ids)
    museum.upload("spare", PHOTOS[4:6])
    # It comes into the list that is open, and ends there.
    admin.until(lambda: len(admin.row_ids) > before and "done" in admin.text("tbody tr"))
    admin.press("Describe photos", "tbody tr")
    admin.until(lambda: '"described": 2' in admin.text(".result"))


def test_encoders_have_their_reports_drawn(admin: AdminPage, museum: Museum) -> None:
    report = museum.http.get("/v1/encoders/student@1").json()["report"]
    admin.visit("#/galleries/museum/encoders")
    panel = admin.text("[data-encoder='student@1']")
    assert f"{report['mean_cosine']:.3f}" in panel
    assert "at least 0.250" in panel
    drawing = admin.at("[data-encoder='student@1'] svg.chart")
    assert f"median {report['matches']['percentiles'][50]:.3f}" in str(drawing.get_attribute("aria-label"))
    # Both distributions have an area: the policy let their styles through, and the numbers were numbers.
    boxes = admin.driver.execute_script(
        "return [...arguments[0].querySelectorAll('.steps')].map(each => [each.getBBox().height, getComputedStyle(each).fill])",
        drawing,
    )
    assert len(boxes) == 2
    assert all(height > 20 and fill != "none" for height, fill in boxes)
    assert "NaN" not in str(drawing.get_attribute("innerHTML"))

    send_file(admin, "#admit-file", museum.encoders / "permuted.onnx")
    admin.press("Admit a student")
    admin.until(lambda: "refused" in admin.text("#main .report .badge.bad"))
    send_file(admin, "#admit-file", museum.encoders / "later.onnx")
    admin.press("Admit a student")
    admin.wait_for_toast("later@1 is admitted.")
    admin.until(lambda: bool(admin.all("[data-encoder='later@1']")))
    admin.choose_option("[data-runtime=web]", "student@1")
    admin.wait_for_toast("student@1 is the default for web.")
    admin.until(lambda: "default for web" in admin.text("[data-encoder='student@1']"))
    best = {"gallery": "museum", "runtime": "web"}
    assert museum.http.get("/v1/encoders/best", params=best).json()["id"] == "student@1"
    admin.press("Retire", "[data-encoder='later@1']")
    admin.confirm("Retire")
    admin.until(lambda: not admin.all("[data-encoder='later@1']"))


def test_an_alias_is_moved(admin: AdminPage, museum: Museum) -> None:
    admin.visit("#/aliases")
    admin.type_into("#new-alias", "live")
    admin.choose_option("#new-alias-gallery", "spare")
    admin.press("Set an alias", "#alias-form")
    admin.until(lambda: admin.row_ids == ["live"])
    assert museum.http.get("/v1/aliases").json()["aliases"] == {"live": "spare"}
    admin.choose_option("tr[data-id=live] select", "museum")
    admin.press("Move", "tr[data-id=live]")
    admin.confirm("Move")
    admin.wait_for_toast("live names museum now, and no longer spare.")
    assert museum.http.get("/v1/aliases").json()["aliases"] == {"live": "museum"}
    # An alias works in an address of this view, too.
    admin.visit("#/galleries/live/items")
    assert len(admin.item_ids) == len(PHOTOS)
    admin.visit("#/aliases")
    admin.press("Delete", "tr[data-id=live]")
    admin.confirm("Delete")
    admin.until(lambda: admin.row_ids == [])


def test_a_snapshot_is_made_verified_and_restored(admin: AdminPage, museum: Museum) -> None:
    admin.visit("#/galleries/spare/snapshots")
    admin.click("#make-snapshot")
    admin.until(lambda: len(admin.row_ids) == 1)
    admin.press("Verify")
    admin.wait_for_toast("Verify a snapshot: done")
    admin.press("Restore")
    admin.type_into("dialog input", "again")
    admin.press("Restore", "dialog")
    admin.wait_for_toast("Restore a snapshot: done")
    assert (
        museum.http.get("/v1/galleries/again").json()["items"] == museum.http.get("/v1/galleries/spare").json()["items"]
    )
    admin.press("Delete", "tbody tr")
    admin.confirm("Delete")
    admin.until(lambda: admin.row_ids == [])


def test_an_offline_pack_is_allowed_made_again_and_withdrawn(admin: AdminPage, museum: Museum) -> None:
    path = "/v1/galleries/museum/offline-pack"
    admin.visit("#/galleries/museum/offline-pack")
    assert "not allowed" in admin.text("#pack-state")
    names = [str(each.get_property("value")) for each in admin.all("#pack-fields input")]
    assert names == sorted([MARKUP, "nested", "room", "title"])
    assert admin.all("#pack-fields b, #pack-fields img") == []
    admin.click("#pack-fields input[value=title]")
    admin.type_into("#pack-other", "author")
    admin.choose_option("#pack-thumbnails", "96")
    admin.type_into("#pack-minutes", "0")
    admin.press("Allow and make")
    admin.wait_for_toast("Make the offline pack: done")
    admin.until(lambda: "title, author" in admin.text("#pack-state .facts"))
    pack = museum.http.get(path).json()
    assert (pack["thumbnails"], pack["items"], pack["is_current"]) == (96, len(PHOTOS), True)
    assert pack["policy"] == {"fields": ["title", "author"], "thumbnails": 96, "refresh_minutes": 0}

    # What was set elsewhere stays as it is, and what is out of date is said to be.
    museum.http.put(path, json={**pack["policy"], "bytes": 64, "thumbnails": 200}).raise_for_status()
    museum.http.put(f"/v1/galleries/museum/items/{SECOND}", files={"photo": PHOTOS[1].read_bytes()}).raise_for_status()
    admin.visit("#/galleries/museum/offline-pack")
    admin.until(lambda: "no: the gallery or the policy has changed since" in admin.text("#pack-state"))
    assert [str(each.get_property("value")) for each in admin.all("#pack-fields :checked")] == ["title", "author"]
    admin.press("Make again")
    admin.until(lambda: "Currentyes" in admin.text("#pack-state .facts"))
    admin.press("Allow and make")
    admin.until(lambda: museum.http.get(path).json().get("is_current") is True)
    kept = museum.http.get(path).json()["policy"]
    assert kept == {"fields": ["title", "author"], "thumbnails": 200, "bytes": 64, "refresh_minutes": 0}

    admin.press("Withdraw")
    assert "one that never asks keeps it" in admin.text("dialog")
    admin.confirm("Withdraw")
    admin.until(lambda: "not allowed" in admin.text("#pack-state"))
    assert museum.http.get(path).json()["allowed"] is False


def test_a_gallery_is_deleted_once_its_name_is_typed(admin: AdminPage, museum: Museum) -> None:
    manifest = Encoder(museum.encoders / "teacher.onnx").manifest.model_dump(mode="json", exclude_none=True)
    museum.http.put("/v1/galleries/doomed", json={"teacher": manifest}).raise_for_status()
    admin.visit("#/galleries/doomed")
    admin.click("#delete-gallery")
    admin.confirm("Delete this gallery", typed="doomed")
    admin.until(lambda: admin.text("h1") == "Galleries" and "doomed" not in admin.row_ids)
    assert museum.http.get("/v1/galleries/doomed").status_code == 404
    # What the server refuses is said, and nothing is deleted.
    admin.visit("#/galleries/museum")
    admin.click("#delete-gallery")
    admin.confirm("Delete this gallery", typed="museum")
    admin.until(lambda: "POST /search answers from" in admin.text("#main [role=alert]"))
    # A view that is left takes its question with it.
    admin.click("#delete-gallery")
    admin.until(lambda: admin.at("dialog").is_displayed())
    admin.visit("#/jobs")
    assert admin.all("dialog") == []


def test_a_key_is_shown_once_and_revoked(admin: AdminPage, museum: Museum) -> None:
    admin.visit("#/keys")
    admin.type_into("#key-name", "kiosk")
    admin.press("Create a key", "#key-form")
    admin.until(lambda: admin.text("#new-key").startswith("ask_"))
    secret = admin.text("#new-key")
    assert httpx.get(f"{museum.url}/v1/galleries", headers={"api-key": secret}).status_code == 200
    for _ in range(3):
        admin.driver.switch_to.active_element.send_keys(Keys.ESCAPE)
    assert admin.text("#new-key") == secret
    admin.press("I have kept it", "dialog")
    admin.until(lambda: "kiosk" in admin.text("tbody") and not admin.all("dialog"))
    assert secret not in str(admin.driver.execute_script("return document.documentElement.outerHTML"))
    (row,) = [id_ for id_ in admin.row_ids if f"ask_{id_}_" in secret]
    admin.press("Revoke", f"tr[data-id='{row}']")
    admin.confirm("Revoke")
    admin.until(lambda: row not in admin.row_ids)
    assert httpx.get(f"{museum.url}/v1/galleries", headers={"api-key": secret}).status_code == 401


def test_the_charts_show_searches_and_rest_while_nobody_looks(admin: AdminPage, museum: Museum) -> None:
    admin.visit("#/live")
    assert admin.at("[data-chart=top-scores]").get_attribute("data-count") == "0"
    museum.search(5)
    museum.search_from_a_foreign_space()

    def highest(chart: str) -> float:
        return float(str(admin.at(f"[data-chart={chart}]").get_attribute("data-highest")))

    charts = ("searches", "latency", "rejections")
    admin.until(lambda: all(highest(chart) > 0 for chart in charts))
    for chart in charts:
        assert admin.all(f"[data-chart={chart}] svg .line.series-1")
        assert "NaN" not in str(admin.at(f"[data-chart={chart}]").get_attribute("innerHTML"))
    admin.until(lambda: admin.at("[data-chart=top-scores]").get_attribute("data-count") == "5")

    def reads() -> int:
        return sum(urlsplit(request["url"]).path == "/metrics" for request in admin.browser.requests())

    hide = "Object.defineProperty(document, 'hidden', {value: arguments[0], configurable: true});"
    admin.driver.execute_script(hide + "document.dispatchEvent(new Event('visibilitychange'))", True)
    admin.driver.execute_async_script("setTimeout(arguments[0], 300)")
    reads()
    # Longer than the time between two readings.
    time.sleep(3.5)
    assert reads() == 0
    admin.driver.execute_script(hide + "document.dispatchEvent(new Event('visibilitychange'))", False)
    admin.until(lambda: reads() > 0)


def test_it_works_behind_a_prefix(admin: AdminPage, museum: Museum) -> None:
    proxy = Proxy(museum.url, "/some/prefix")
    try:
        admin.browser.requests()
        behind = AdminPage(admin.browser, proxy.url)
        behind.enter_key(museum.key)
        behind.visit("#/galleries/museum/items")
        behind.until(
            lambda: behind.driver.execute_script(
                "return [...document.querySelectorAll('.items img')].slice(0, 3).every(each => each.naturalWidth > 0)"
            )
        )
        # A slash at the end leads to the same page, below the prefix.
        behind.driver.get(f"{proxy.url}/admin/#/jobs")
        behind.wait_for_state("ready")
        assert behind.driver.current_url == f"{proxy.url}/admin#/jobs"
        requested = [urlsplit(request["url"]) for request in admin.browser.requests()]
        assert {part.netloc for part in requested if part.scheme == "http"} == {urlsplit(proxy.url).netloc}
        assert all(part.path.startswith("/some/prefix/") for part in requested if part.scheme == "http")
    finally:
        proxy.close()


def test_a_server_without_keys_asks_for_none_until_the_first_is_made(page: AdminPage, tmp_path: Path) -> None:
    with RunningServer(tmp_path / "data") as server:
        open_page = AdminPage(page.browser, server.url)
        open_page.driver.get(f"{server.url}/admin#/keys")
        open_page.wait_for_state("ready")
        assert "everybody who reaches this server may do everything" in open_page.text("#who")
        open_page.type_into("#key-name", "first")
        open_page.press("Create a key", "#key-form")
        open_page.until(lambda: open_page.text("#new-key").startswith("ask_"))
        open_page.press("I have kept it", "dialog")
        open_page.until(lambda: open_page.state == "ready" and "first" in open_page.text("tbody"))
        assert httpx.get(f"{server.url}/v1/galleries").status_code == 401


@pytest.mark.parametrize(
    ("scheme", "width", "views"), [("light", 1280, VIEWS[1::2] + VIEWS[-1:]), ("dark", 360, VIEWS[::2])]
)
def test_axe_finds_nothing_and_nothing_scrolls_sideways(
    admin: AdminPage, scheme: str, width: int, views: tuple[str, ...]
) -> None:
    set_colours(admin, scheme)
    admin.resize(width, 800)
    for view in views:
        admin.visit(view)
        assert violations(admin) == [], view
        assert admin.driver.execute_script("return document.documentElement.scrollWidth") <= width, view
    admin.visit("#/galleries/museum")
    admin.click("#delete-gallery")
    admin.until(lambda: admin.at("dialog").is_displayed())
    assert violations(admin) == []
    admin.press("Cancel", "dialog")
    set_colours(admin, "light")


def test_the_keyboard_reaches_views_and_returns_from_windows(admin: AdminPage) -> None:
    admin.visit("#/galleries/museum")
    assert admin.driver.switch_to.active_element.text == "museum"
    delete = admin.at("#delete-gallery")
    admin.driver.execute_script("arguments[0].focus()", delete)
    delete.send_keys(Keys.ENTER)
    admin.until(lambda: admin.at("dialog").is_displayed())
    admin.driver.switch_to.active_element.send_keys(Keys.ESCAPE)
    admin.until(lambda: not admin.all("dialog"))
    assert admin.driver.switch_to.active_element == delete
    admin.driver.execute_script("document.activeElement.blur()")
    reached = []
    for _ in range(12):
        admin.driver.find_element(By.TAG_NAME, "body").send_keys(Keys.TAB)
        reached.append(admin.driver.switch_to.active_element.text)
    assert [each for each in reached if each in {"Galleries", "Jobs", "Live", "Aliases", "Keys"}][:5] == [
        "Galleries", "Jobs", "Live", "Aliases", "Keys"
    ]  # fmt: skip
    # The first link leads past the navigation, and to no other view.
    # It is outside the page until it has the focus.
    admin.driver.execute_script("document.querySelector('#skip').focus()")
    ActionChains(admin.driver).send_keys(Keys.ENTER).perform()
    assert admin.driver.switch_to.active_element.get_attribute("id") == "main"
    assert admin.driver.execute_script("return location.hash") == "#/galleries/museum"


@pytest.mark.skipif(not os.environ.get("WRITE_IMAGES"), reason="WRITE_IMAGES=1 takes new pictures for docs/")
@pytest.mark.parametrize(
    ("view", "height", "name"), [("#/galleries/museum/encoders", 720, "encoders"), ("#/live", 890, "live")]
)
def test_the_pictures_in_the_documents(admin: AdminPage, museum: Museum, view: str, height: int, name: str) -> None:
    set_colours(admin, "light")
    admin.resize(1280, height)
    admin.visit(view)
    if name == "live":
        for count in (9, 14, 6, 17, 11, 20, 13, 24, 16, 19, 12, 15):
            readings = str(admin.at(".live").get_attribute("data-readings"))
            museum.search(count, noise=0.05)
            if count % 5 == 0:
                museum.search_from_a_foreign_space()
            admin.until(lambda: len(admin.all(f".live:not([data-readings='{readings}'])")) == 1)  # noqa: B023
    admin.driver.execute_script("document.activeElement.blur(); window.scrollTo(0, 0)")
    picture = Image.open(io.BytesIO(admin.driver.get_screenshot_as_png())).convert("RGB")
    assert write_small(picture, PICTURES / f"admin-{name}.png").stat().st_size < 200_000
