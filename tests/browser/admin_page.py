"""The operator's view in a browser, as an operator uses it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from tests.browser.app_page import CHANGING, SECONDS, AppPage

T = TypeVar("T")

_DROP = """
const [zone, files] = arguments;
const transfer = new DataTransfer();
for (const [name, text] of files) {
  const bytes = Uint8Array.from(atob(text), each => each.charCodeAt(0));
  transfer.items.add(new File([bytes], name, {type: 'image/jpeg'}));
}
for (const kind of ['dragenter', 'dragover', 'drop']) {
  zone.dispatchEvent(new DragEvent(kind, {bubbles: true, cancelable: true, dataTransfer: transfer}));
}
"""


class AdminPage(AppPage):
    """One open page of the operator's view."""

    def until(self, condition: Callable[[], T]) -> T:
        # Often, because each test waits for many small things.
        wait = WebDriverWait(self.driver, SECONDS, poll_frequency=0.05, ignored_exceptions=CHANGING)
        return wait.until(lambda _: condition())

    def visit(self, fragment: str, state: str = "ready") -> None:
        """Open a view, by the fragment of its address, in the page that is open."""
        # Away from the view first, so that the same one is opened anew.
        self.driver.execute_script("location.hash = '#/nowhere'")
        self.until(lambda: "No such view" in self.text("#main"))
        self.driver.execute_script("location.hash = arguments[0]", fragment)
        self.until(lambda: self.state == state and "No such view" not in self.text("#main"))

    def enter_key(self, key: str, state: str = "ready") -> None:
        self.driver.get(f"{self.url}/admin")
        self.driver.execute_script("sessionStorage.clear()")
        self.driver.get(f"{self.url}/admin")
        self.wait_for_state("key")
        self.at("#main input[type=password]").send_keys(key)
        self.click("#main form button")
        self.until(lambda: self.state == state and (state != "key" or bool(self.all("#main [role=alert]"))))

    def press(self, text: str, within: str = "#main") -> None:
        """Press the button, or follow the link, with a text."""
        self.until(lambda: bool(self._named(text, within)))
        self.driver.execute_script("arguments[0].click()", self._named(text, within)[0])

    def confirm(self, text: str, typed: str = "") -> None:
        """Confirm in the window that asks, after typing what it asks for."""
        self.until(lambda: self.at("dialog").is_displayed())
        if typed:
            button = self._named(text, "dialog")[0]
            assert button.get_attribute("disabled") is not None
            self.at("dialog input").send_keys(typed)
        self.press(text, "dialog")
        self.until(lambda: not self.all("dialog"))

    def wait_for_toast(self, text: str) -> None:
        self.until(lambda: text in self.text("#toasts"))

    def drop(self, photos: dict[str, str]) -> None:
        """Drop files onto the section that is shown. `photos`: base64 by file name."""
        self.driver.execute_script(_DROP, self.at(".drop-zone"), list(photos.items()))

    def type_into(self, selector: str, text: str) -> None:
        field = self.at(selector)
        field.clear()
        field.send_keys(text)

    def choose_option(self, selector: str, value: str) -> None:
        self.driver.execute_script(
            "arguments[0].value = arguments[1];"
            "for (const kind of ['input', 'change']) arguments[0].dispatchEvent(new Event(kind, {bubbles: true}))",
            self.at(selector),
            value,
        )

    @property
    def item_ids(self) -> list[str]:
        return [str(each.get_attribute("data-id")) for each in self.all(".items > [data-id]")]

    @property
    def row_ids(self) -> list[str]:
        return [str(each.get_attribute("data-id")) for each in self.all("tbody tr")]

    def _named(self, text: str, within: str) -> list[WebElement]:
        found: list[WebElement] = self.driver.execute_script(
            "return [...document.querySelectorAll(arguments[0] + ' button, ' + arguments[0] + ' a')]"
            ".filter(each => each.textContent === arguments[1] && each.checkVisibility())",
            within,
            text,
        )
        return found


def send_file(page: AppPage, selector: str, file: Path) -> None:
    page.at(selector).send_keys(str(file))
