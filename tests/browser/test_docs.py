"""The API's reference at /docs, in a real browser behind a path prefix: read, and tried with a key."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from tests.browser.conftest import Browser
from tests.browser.proxy import Proxy
from tests.support.running_server import RunningServer, run_askew

pytestmark = pytest.mark.browser
PREFIX = "/some/prefix"


@pytest.fixture
def guarded(small_data: Path, tmp_path: Path) -> Iterator[tuple[Proxy, str]]:
    """A server that asks for keys, behind a prefix that it does not know; and a key."""
    data = tmp_path / "data"
    shutil.copytree(small_data, data)
    made = run_askew("key", "create", "me", "--scope", "admin", "--scope", "search", "--data", data, "--json")
    key = json.loads(made.stdout)["key"]
    with RunningServer(data, "--gallery", "objects") as server:
        proxy = Proxy(server.url, PREFIX)
        try:
            yield proxy, key
        finally:
            proxy.close()


def test_a_call_is_tried_with_a_key_and_nothing_else_is_asked(browser: Browser, guarded: tuple[Proxy, str]) -> None:
    proxy, key = guarded
    driver = browser.driver
    driver.get(f"{proxy.url}/docs")
    wait: WebDriverWait[Any] = WebDriverWait(driver, 60)

    def click(selector: str) -> None:
        script = "const found = document.querySelector(arguments[0]); if (found) found.click(); return Boolean(found);"
        wait.until(lambda driver: driver.execute_script(script, selector), selector)

    call = '[id="operations-galleries-list_galleries_v1_galleries_get"]'
    click('[data-tag="galleries"]')
    click(f"{call} .opblock-summary-control")
    assert "scope **search**" not in driver.page_source
    click(".auth-wrapper > .authorize")
    field = wait.until(lambda driver: driver.find_element(By.CSS_SELECTOR, ".dialog-ux input"))
    field.send_keys(key)
    click(".auth-btn-wrapper .authorize")
    click(".dialog-ux .close-modal")
    click(f"{call} .try-out__btn")
    click(f"{call} .execute")
    answered = wait.until(
        lambda driver: driver.find_elements(By.CSS_SELECTOR, f"{call} .live-responses-table .response")
    )
    assert answered[0].text.startswith("200"), answered[0].text
    assert '"objects"' in answered[0].text
    asked = next(each for each in proxy.recorded if each.target == f"{PREFIX}/v1/galleries")
    assert asked.headers["Authorization"] == f"Bearer {key}"
    # Readable in the dark, and on a phone.
    contrast = "return [getComputedStyle(document.body).backgroundColor, getComputedStyle(document.querySelector('.info .title')).color]"
    light = driver.execute_script(contrast)
    driver.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
    )
    wait.until(lambda driver: driver.execute_script(contrast) != light)
    for width in (360, 1280):
        driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False},
        )
        overflow = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert driver.execute_script(overflow) <= 0, width
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    # No other host, nothing outside the prefix, and nothing that the policy refuses.
    requested = [urlsplit(each["url"]) for each in browser.requests()]
    assert {part.netloc for part in requested if part.scheme == "http"} == {urlsplit(proxy.url).netloc}
    assert all(part.path.startswith(f"{PREFIX}/") for part in requested if part.scheme == "http")
    assert browser.console() == []
