"""The page that `askew report` writes, in a real browser: pictures, policy, light and dark, phone and desk.

With ASKEW_DOCS_IMAGES=docs/images it measures the demo's own encoders, which takes a minute, and writes docs/images/report.png.
"""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from PIL import Image

from askew_training.evaluate.reporting.placing import compare
from askew_training.evaluate.reporting.writing import Choices, Report
from tests.browser.conftest import Browser
from tests.support.demo_measurements import measure_demo
from tests.support.paths import DEMO

pytestmark = pytest.mark.browser
OVERFLOW = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
UNSEEN = "return [...document.images].filter(image => !image.complete || !image.naturalWidth).map(image => image.src)"
COLOURS = "return [document.body, document.querySelector('td')].map(each => getComputedStyle(each).backgroundColor + getComputedStyle(each).color)"


@pytest.fixture(scope="module")
def report(teacher_file: Path, student_file: Path) -> Report:
    files, photos = (teacher_file, student_file), 12
    if "ASKEW_DOCS_IMAGES" in os.environ:
        files, photos = (DEMO / "encoders" / "teacher.onnx", DEMO / "encoders" / "student.onnx"), 40
    teacher, student = files
    pairs = ((teacher, teacher), (student, teacher), (student, student))
    measured = [measure_demo(queries, gallery, photos) for queries, gallery in pairs]
    return Report(compare(measured), measured, Choices(title="The demo", photos=(DEMO,), cases=3))


@pytest.fixture
def sized(browser: Browser) -> Iterator[Browser]:
    yield browser
    browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    browser.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


@pytest.mark.parametrize("is_embedded", [False, True], ids=["beside", "embedded"])
def test_the_page_shows_its_pictures_on_any_screen_and_asks_for_nothing(
    is_embedded: bool, report: Report, sized: Browser, tmp_path: Path
) -> None:
    page, driver = tmp_path / "report.html", sized.driver
    report.write_html(page, is_embedded=is_embedded)
    driver.get(page.as_uri())
    backgrounds = []
    for scheme in ("light", "dark"):
        media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
        backgrounds.append(driver.execute_script(COLOURS))
        for width in (360, 1280):
            resize(sized, width)
            assert driver.execute_script(OVERFLOW) <= 0, width
    # The style holds although the policy names it by its digest, and both schemes have their own.
    assert backgrounds[0][0] != backgrounds[1][0] and backgrounds[0][1] != backgrounds[1][1]
    assert driver.execute_script("return document.images.length") > 20
    assert driver.execute_script(UNSEEN) == []
    asked = [urlsplit(each["url"]) for each in sized.requests()]
    assert {each.scheme for each in asked} <= {"file", "data"}
    assert all(Path(each.path).is_relative_to(tmp_path) for each in asked if each.scheme == "file")
    assert sized.console() == []
    if "ASKEW_DOCS_IMAGES" in os.environ and not is_embedded:
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
        write_picture(sized, Path(os.environ["ASKEW_DOCS_IMAGES"]) / "report.png")


def resize(browser: Browser, width: int) -> None:
    size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    browser.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def write_picture(browser: Browser, path: Path) -> None:
    """The results and the scores, and below them the first queries of the student."""
    resize(browser, 1000)
    edges = "return [...arguments].map(each => document.querySelector(each).getBoundingClientRect()).map((box, i) => (i ? box.bottom : box.top) + scrollY)"
    browser.driver.execute_script("for (const each of document.querySelectorAll('article details')) each.open = true")
    pieces = []
    # Whole elements: from the top of the first to the bottom of the second.
    for first, last in (
        ("header", "header"),
        ("#results", "#results"),
        ("#scores", "#scores figure"),
        ("article:nth-of-type(2)", "article:nth-of-type(2) .case:nth-of-type(2)"),
    ):
        top, bottom = browser.driver.execute_script(edges, first, last)
        clip = {"x": 0, "y": top - 12, "width": 1000, "height": bottom - top + 16, "scale": 1}
        taken = browser.driver.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True, "clip": clip})
        pieces.append(Image.open(io.BytesIO(base64.b64decode(taken["data"]))).convert("RGB"))
    whole = Image.new("RGB", (1000, sum(piece.height for piece in pieces)), pieces[0].getpixel((2, 2)))
    height = 0
    for piece in pieces:
        whole.paste(piece, (0, height))
        height += piece.height
    whole.quantize(192, dither=Image.Dither.FLOYDSTEINBERG).save(path, optimize=True)
