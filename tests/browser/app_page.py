"""The web app in a browser, as a person uses it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from selenium.common.exceptions import NoSuchElementException, StaleElementReferenceException
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from tests.browser.conftest import Browser

SECONDS = 60
CHANGING = (NoSuchElementException, StaleElementReferenceException)
T = TypeVar("T")


class AppPage:
    """One open page of the app. Methods wait for what they do to have happened."""

    def __init__(self, browser: Browser, url: str) -> None:
        """`url`: of the server, with its prefix and without a slash at the end."""
        self.browser = browser
        self.driver = browser.driver
        self.url = url

    def open(self, fragment: str = "", state: str = "ready") -> None:
        self.driver.get(f"{self.url}/{fragment}")
        self.wait_for_state(state)

    @property
    def state(self) -> str | None:
        return self.driver.find_element(By.TAG_NAME, "body").get_attribute("data-state")

    def wait_for_state(self, *states: str) -> None:
        self.until(lambda: self.state in states)

    def until(self, condition: Callable[[], T]) -> T:
        return WebDriverWait(self.driver, SECONDS, ignored_exceptions=CHANGING).until(lambda _: condition())

    def at(self, selector: str) -> WebElement:
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def all(self, selector: str) -> list[WebElement]:
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def click(self, selector: str) -> None:
        self.until(lambda: self.at(selector).is_displayed())
        self.driver.execute_script("arguments[0].click()", self.at(selector))

    def text(self, selector: str) -> str:
        return str(self.at(selector).get_attribute("textContent"))

    def choose(self, photo: Path) -> None:
        """Choose a photo, without waiting for its hits."""
        self.at("#photo-input").send_keys(str(photo))

    def search(self, photo: Path) -> list[str]:
        """Choose a photo: the ids of its hits, in order."""
        self.choose(photo)
        self.wait_for_state("found", "nothing", "failed")
        assert self.state == "found", self.notice
        return self.result_ids

    @property
    def result_ids(self) -> list[str]:
        return [str(card.get_attribute("data-id")) for card in self.all("#results [data-id]")]

    @property
    def notice(self) -> str:
        return f"{self.at('#notice').get_attribute('data-kind')}: {self.text('#notice')}"

    def wait_for_notice(self, kind: str) -> None:
        self.until(lambda: self.at("#notice").is_displayed())
        assert self.at("#notice").get_attribute("data-kind") == kind, self.notice

    def resize(self, width: int, height: int) -> None:
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
