"""A real server with the demo gallery, and a headless Chromium that opens its page."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

from tests.support.paths import ROOT

DEMO = ROOT / "demo"
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@pytest.fixture(scope="session")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a server with the demo gallery and its student, or ASKEW_BROWSER_URL if it is set."""
    running = os.environ.get("ASKEW_BROWSER_URL")
    if running:
        yield running.rstrip("/")
        return
    data = tmp_path_factory.mktemp("browser") / "data"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    into = ["--gallery", "demo", "--data", str(data)]
    askew = [sys.executable, "-m", "askew_client.cli.main"]
    teacher, student = (str(DEMO / "encoders" / f"{role}.onnx") for role in ("teacher", "student"))
    payloads = ["--payloads", str(DEMO / "credits.csv")]
    subprocess.run([*askew, "index", str(DEMO / "gallery"), *into, "--encoder", teacher, *payloads], check=True)
    subprocess.run([*askew, "admit", student, *into], check=True)
    serving = subprocess.Popen([*askew, "serve", *into, "--port", str(port), "--photo-search"])
    try:
        wait_until_ready(f"http://127.0.0.1:{port}", serving)
        yield f"http://127.0.0.1:{port}"
    finally:
        serving.terminate()
        serving.wait(20)


def wait_until_ready(url: str, serving: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        assert serving.poll() is None, "the server ended"
        try:
            urllib.request.urlopen(f"{url}/readyz", timeout=2).close()
            return
        except OSError:
            time.sleep(0.1)
    pytest.fail("the server was not ready in time")


@dataclass
class Browser:
    """A running Chromium, with its console messages and requests."""

    driver: webdriver.Chrome

    def console(self) -> list[str]:
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def requests(self) -> list[dict[str, Any]]:
        events = (json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance"))
        sent = (event["params"] for event in events if event["method"] == "Network.requestWillBeSent")
        # Leave out Chromium's own pages, such as the empty first tab.
        return [event["request"] for event in sent if urlsplit(event["request"]["url"]).scheme != "chrome"]


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    with open_browser(tmp_path / "profile") as opened:
        yield opened


@contextmanager
def open_browser(profile: Path, *flags: str) -> Iterator[Browser]:
    """A Chromium with its own profile folder."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    chromedriver = shutil.which("chromedriver")
    if not chromium or not chromedriver:
        pytest.skip("Chromium or its driver is not installed (Debian: apt-get install chromium chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (*FLAGS, *flags, "--window-size=1100,900", f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(chromedriver))
    try:
        yield Browser(driver)
    finally:
        driver.quit()
