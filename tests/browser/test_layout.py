"""The web app for people: small and large screens, keyboard, screen readers, long words, dark and light."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from importlib.resources import files
from itertools import product
from pathlib import Path

import pytest
from PIL import Image
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tests.browser.app_page import AppPage
from tests.browser.conftest import TALL_PHOTO, Browser, open_browser
from tests.support.paths import DEMO, ROOT
from tests.support.running_server import RunningServer

pytestmark = pytest.mark.browser

TAJ_MAHAL = DEMO / "queries" / "taj-mahal.jpg"
PICTURES = ROOT / "docs" / "images"


@pytest.fixture(scope="module")
def layout_browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with open_browser(tmp_path_factory.mktemp("layout") / "profile", "--force-device-scale-factor=1") as browser:
        yield browser


@pytest.fixture(scope="module")
def app(layout_browser: Browser, small: RunningServer) -> AppPage:
    """The app in one browser, for tests that leave nothing behind but an open page. Its encoder is tiny."""
    return AppPage(layout_browser, small.url)


def violations(app: AppPage) -> list[str]:
    """What axe finds, with the elements concerned."""
    # A page's own policy lets no test inject a script element; the driver's scripts are not held to it.
    if not app.driver.execute_script("return 'axe' in window"):
        app.driver.execute_script((files("axe_core_python") / "axe.min.js").read_text())
    found = app.driver.execute_async_script(
        "const done = arguments[0]; axe.run(document, {resultTypes: ['violations']}).then(each => done(each.violations))"
    )
    return [f"{each['id']}: {[node['html'][:120] for node in each['nodes']]}" for each in found]


def set_colours(app: AppPage, scheme: str) -> None:
    features = [
        {"name": "prefers-color-scheme", "value": scheme},
        {"name": "prefers-reduced-motion", "value": "reduce"},
    ]
    app.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(app: AppPage, scheme: str) -> None:
    set_colours(app, scheme)
    app.resize(360, 740)
    app.open()
    assert violations(app) == []
    app.search(TALL_PHOTO)
    assert violations(app) == []
    app.click("#results [data-id] button")
    app.until(lambda: app.at("#details").is_displayed())
    assert violations(app) == []
    app.click("#details-close")
    app.click("#open-settings")
    app.until(lambda: app.at("#settings").is_displayed())
    assert violations(app) == []
    app.click("#settings-close")


WIDTHS = (320, 360, 768, 1280)


def test_nothing_scrolls_sideways(app: AppPage) -> None:
    app.open()
    app.search(TALL_PHOTO)
    app.driver.execute_script(
        "document.querySelectorAll('#results p, #results h3, #figures p').forEach(each => { each.append('W'.repeat(300)); })"
    )
    for direction, width in product(("ltr", "rtl"), WIDTHS):
        app.resize(width, 800)
        app.driver.execute_script("document.documentElement.dir = arguments[0]", direction)
        assert app.driver.execute_script("return document.documentElement.scrollWidth") <= width, (direction, width)


def test_tall_photos_do_not_stretch_their_cards(app: AppPage) -> None:
    app.open()
    assert TALL_PHOTO.stem in app.search(TALL_PHOTO)
    for width in WIDTHS:
        app.resize(width, 800)
        sizes = app.driver.execute_script(
            """return [...document.querySelectorAll('#results [data-id] img')].map(each => {
              const {width, height} = each.getBoundingClientRect(); return [width, height]; })"""
        )
        assert sizes
        assert all(abs(across - down) <= 1 for across, down in sizes), (width, sizes)


def test_buttons_are_large_enough_for_a_thumb(app: AppPage) -> None:
    app.resize(360, 740)
    app.open()
    app.search(TALL_PHOTO)
    small = app.driver.execute_script(
        # A title's button is as large as its card, by a pseudo-element.
        """return [...document.querySelectorAll('button:not(.title), select')].filter(each => each.checkVisibility())
          .map(each => [each.id || each.className, each.getBoundingClientRect()])
          .filter(([, box]) => box.width < 44 || box.height < 44).map(([name]) => name)"""
    )
    assert small == []
    # The two ways to a photo stay within reach.
    for button in ("#open-camera", "#choose-photo"):
        assert app.driver.execute_script(
            "const {top, bottom} = document.querySelector(arguments[0]).getBoundingClientRect();"
            "return top > 370 && bottom <= 740",
            button,
        )


def test_the_keyboard_reaches_everything_and_the_focus_returns(app: AppPage) -> None:
    app.resize(1280, 900)
    app.open()
    app.search(TALL_PHOTO)
    assert app.driver.switch_to.active_element.get_attribute("id") == "results-heading"
    first = app.at("#results [data-id] button")
    app.driver.execute_script("arguments[0].focus()", first)
    first.send_keys(Keys.ENTER)
    app.until(lambda: app.at("#details").is_displayed())
    app.driver.switch_to.active_element.send_keys(Keys.ESCAPE)
    app.until(lambda: not app.at("#details").is_displayed())
    assert app.driver.switch_to.active_element == first
    reached = set()
    app.driver.execute_script("document.activeElement.blur()")
    for _ in range(12):
        app.driver.find_element(By.TAG_NAME, "body").send_keys(Keys.TAB)
        reached.add(app.driver.switch_to.active_element.get_attribute("id"))
    assert {"open-settings", "open-camera", "choose-photo", "start-crop"} <= reached


def test_results_are_announced(app: AppPage) -> None:
    app.open()
    app.search(TALL_PHOTO)
    assert app.at("#status").get_attribute("role") == "status"
    assert app.text("#results-status").endswith(("hit", "hits"))


@pytest.mark.skipif(not os.environ.get("WRITE_IMAGES"), reason="WRITE_IMAGES=1 takes new pictures for docs/")
@pytest.mark.parametrize(
    ("width", "height", "name"), [(390, 900, "phone"), (768, 900, "tablet"), (1280, 800, "desktop")]
)
def test_the_pictures_in_the_documents(layout_browser: Browser, url: str, width: int, height: int, name: str) -> None:
    app = AppPage(layout_browser, url)
    set_colours(app, "light")
    app.resize(width, height)
    app.open()
    app.search(TAJ_MAHAL)
    app.until(
        lambda: app.driver.execute_script(
            "return [...document.images].filter(each => each.checkVisibility()).every(each => each.complete)"
        )
    )
    app.driver.execute_script("document.activeElement.blur(); window.scrollTo(0, 0)")
    picture = Image.open(io.BytesIO(app.driver.get_screenshot_as_png())).convert("RGB")
    written = write_small(picture, PICTURES / f"{name}.png")
    assert written.stat().st_size < 300_000


def write_small(picture: Image.Image, path: Path) -> Path:
    # A palette keeps the file small enough for a README.
    picture.quantize(256).save(path, optimize=True)
    return path
