"""The page at `/`, tested in a browser."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import pytest
from PIL import Image
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import Select, WebDriverWait

from tests.browser.conftest import Browser
from tests.support.paths import DEMO, ROOT

pytestmark = pytest.mark.browser


T = TypeVar("T")


def until(browser: Browser, condition: Callable[[], T]) -> T:
    return WebDriverWait(browser.driver, 20).until(lambda _: condition())


def at(browser: Browser, id_: str) -> WebElement:
    return browser.driver.find_element(By.ID, id_)


def cards(browser: Browser, id_: str) -> list[WebElement]:
    return browser.driver.find_elements(By.CSS_SELECTOR, f"#{id_} > .card")


def open_page(browser: Browser, url: str) -> None:
    browser.driver.get(f"{url}/")
    until(browser, lambda: cards(browser, "items"))


def search(browser: Browser, photo: Path) -> list[WebElement]:
    at(browser, "photo").send_keys(str(photo))
    return until(browser, lambda: cards(browser, "results"))


def has_more_cards(browser: Browser, before: int) -> bool:
    return len(cards(browser, "items")) > before


def is_loaded(browser: Browser, image: WebElement) -> bool:
    script = "return arguments[0].complete && arguments[0].naturalWidth > 0"
    return bool(browser.driver.execute_script(script, image))


def test_the_gallery_shows_its_photos_with_credits_page_by_page(browser: Browser, url: str) -> None:
    open_page(browser, url)
    first = cards(browser, "items")
    assert len(first) == 48
    image = first[0].find_element(By.TAG_NAME, "img")
    browser.driver.execute_script("arguments[0].scrollIntoView()", image)
    until(browser, lambda: is_loaded(browser, image))
    assert image.get_attribute("alt")
    assert "public-domain" in first[0].text or "CC-" in first[0].text
    for _ in range(3):
        before = len(cards(browser, "items"))
        browser.driver.execute_script("arguments[0].click()", at(browser, "more"))
        until(browser, partial(has_more_cards, browser, before))
    shown = [card.get_attribute("data-id") for card in cards(browser, "items")]
    assert len(shown) == len(set(shown)) == 147
    assert not at(browser, "more").is_displayed()


@pytest.mark.parametrize("landmark", ["taj-mahal", "eiffel-tower"])
def test_an_uploaded_photo_shows_its_landmark_first(browser: Browser, url: str, landmark: str) -> None:
    open_page(browser, url)
    hits = search(browser, DEMO / "queries" / f"{landmark}.jpg")
    assert hits[0].get_attribute("data-id") == landmark
    score = hits[0].find_element(By.TAG_NAME, "output").text
    assert len(score) == 5 and 0 < float(score) <= 1
    status = at(browser, "status").text
    assert (at(browser, "encoder").get_attribute("value") or "no encoder") in status
    assert " ms" in status


def test_the_student_describes_by_default_and_the_teacher_can_be_chosen(browser: Browser, url: str) -> None:
    open_page(browser, url)
    choice = Select(at(browser, "encoder"))
    assert "(student)" in choice.first_selected_option.text
    search(browser, DEMO / "queries" / "taj-mahal.jpg")
    teacher = next(option.text for option in choice.options if "(teacher)" in option.text)
    choice.select_by_visible_text(teacher)
    name = teacher.removesuffix(" (teacher)")
    until(browser, lambda: name in at(browser, "status").text)
    assert until(browser, lambda: cards(browser, "results"))[0].get_attribute("data-id") == "taj-mahal"


def test_a_dropped_photo_is_searched(browser: Browser, url: str) -> None:
    open_page(browser, url)
    # The driver cannot drag a file into the page, so the event is made from a photo that the page fetches.
    browser.driver.execute_async_script(
        """const done = arguments[0];
        fetch("/v1/galleries/demo/items/petra/photo").then(answer => answer.blob()).then(blob => {
          const dropped = new DataTransfer();
          dropped.items.add(new File([blob], "petra.jpg", {type: "image/jpeg"}));
          const event = {dataTransfer: dropped, bubbles: true, cancelable: true};
          document.body.dispatchEvent(new DragEvent("drop", event));
          done();
        });"""
    )
    hits = until(browser, lambda: cards(browser, "results"))
    assert hits[0].get_attribute("data-id") == "petra"


def test_an_unreadable_file_shows_the_problem_and_the_next_photo_clears_it(
    browser: Browser, url: str, tmp_path: Path
) -> None:
    open_page(browser, url)
    broken = tmp_path / "broken.jpg"
    broken.write_text("this is not a photo")
    at(browser, "photo").send_keys(str(broken))
    until(browser, lambda: at(browser, "banner").is_displayed())
    assert at(browser, "banner-title").text == "The photo cannot be described"
    assert at(browser, "banner-detail").text
    assert at(browser, "banner-link").get_attribute("href") == f"{url}/problems/unreadable-photo"
    assert not cards(browser, "results")
    search(browser, DEMO / "queries" / "taj-mahal.jpg")
    assert not at(browser, "banner").is_displayed()


def test_the_page_calls_no_other_host_and_logs_nothing_to_the_console(browser: Browser, url: str) -> None:
    open_page(browser, url)
    search(browser, DEMO / "queries" / "qutub-minar.jpg")
    requested = [urlsplit(request["url"]) for request in browser.requests()]
    assert len(requested) > 5
    assert {part.netloc for part in requested if part.scheme in ("http", "https", "ws", "wss")} == {
        urlsplit(url).netloc
    }
    assert browser.console() == []


def test_the_page_can_be_used_from_the_keyboard(browser: Browser, url: str) -> None:
    open_page(browser, url)
    body = browser.driver.find_element(By.TAG_NAME, "body")
    reached = []
    for _ in range(4):
        body.send_keys(Keys.TAB)
        reached.append(browser.driver.switch_to.active_element.get_attribute("id"))
    assert "photo" in reached and "encoder" in reached
    unnamed = browser.driver.execute_script(
        """const isNamed = element => element.labels?.length || element.ariaLabel || element.textContent.trim();
        return [...document.querySelectorAll("input, select, button")].filter(each => !isNamed(each)).map(each => each.id)
          .concat([...document.images].filter(image => !image.hasAttribute("alt")).map(image => image.src))"""
    )
    assert unnamed == []


def test_a_narrow_phone_needs_no_sideways_scrolling(browser: Browser, url: str) -> None:
    browser.driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": 360, "height": 740, "deviceScaleFactor": 1, "mobile": True},
    )
    open_page(browser, url)
    search(browser, DEMO / "queries" / "taj-mahal.jpg")
    assert browser.driver.execute_script("return document.documentElement.scrollWidth") <= 360


@pytest.mark.skipif(not os.environ.get("WRITE_IMAGES"), reason="WRITE_IMAGES=1 takes a new picture for docs/")
def test_the_picture_in_the_readme(browser: Browser, url: str) -> None:
    driver = browser.driver
    driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": 1000, "height": 900, "deviceScaleFactor": 1, "mobile": False},
    )
    open_page(browser, url)
    for card in search(browser, DEMO / "queries" / "taj-mahal.jpg"):
        image = card.find_element(By.TAG_NAME, "img")
        driver.execute_script("arguments[0].loading = 'eager'", image)
        until(browser, partial(is_loaded, browser, image))
    driver.execute_script("window.scrollTo(0, 0)")
    picture = Image.open(io.BytesIO(driver.get_screenshot_as_png())).convert("RGB")
    # A palette keeps the file small enough for a README.
    picture.quantize(256).save(ROOT / "docs/images/result.png", optimize=True)
    assert (ROOT / "docs/images/result.png").stat().st_size < 300_000
