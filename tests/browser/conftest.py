"""A real server with the demo gallery, and a headless Chromium that opens its page."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from filelock import FileLock
from selenium import webdriver
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.chrome.service import Service

from askew_client.encoding.encoder import Encoder
from tests.support.gallery_files import described, write_gallery
from tests.support.paths import DEMO
from tests.support.running_server import RunningServer
from tests.support.small_demo import copy_small_demo

# Of its 147 photos, so that the teacher needs seconds instead of half a minute.
DEMO_PHOTOS = 24
TALL_PHOTO = DEMO / "gallery" / "eiffel-tower.jpg"
_SHOWN = ("title", "author", "licence", "source")
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
    """The URL of a server with a part of the demo gallery and its student, or ASKEW_BROWSER_URL if it is set."""
    running = os.environ.get("ASKEW_BROWSER_URL")
    if running:
        yield running.rstrip("/")
        return
    data = tmp_path_factory.mktemp("browser") / "data"
    shutil.copytree(demo_data(tmp_path_factory), data)
    with RunningServer(data, "--gallery", "demo", "--photo-search") as server:
        yield server.url


def demo_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A DATA directory with a part of the demo gallery and its student, made once for all processes of a run."""
    # Each process of pytest-xdist has a folder of its own in the folder of the run.
    folder = tmp_path_factory.getbasetemp()
    shared = (folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder) / "demo"
    with FileLock(f"{shared}.lock"):
        if not (shared / "done").exists():
            demo = copy_small_demo(shared / "demo", photos=DEMO_PHOTOS)
            into = ["--gallery", "demo", "--data", str(demo.data)]
            askew = [sys.executable, "-m", "askew_client.cli.main"]
            teacher, student = (str(DEMO / "encoders" / f"{role}.onnx") for role in ("teacher", "student"))
            payloads = ["--payloads", str(demo.folder / "credits.csv")]
            photos = str(demo.folder / "gallery")
            subprocess.run([*askew, "index", photos, *into, "--encoder", teacher, *payloads], check=True)
            subprocess.run([*askew, "admit", student, *into], check=True)
            (shared / "done").touch()
    return shared / "data"


@pytest.fixture(scope="session")
def small_data(tmp_path_factory: pytest.TempPathFactory, teacher_file: Path, photos: list[Path]) -> Path:
    """A DATA directory with the gallery `objects`, without a student: 12 photos and a tall one. Its teacher is tiny."""
    data = tmp_path_factory.mktemp("small") / "data"
    with (DEMO / "credits.csv").open(encoding="utf-8", newline="") as lines:
        shown = {row["id"]: {name: row[name] for name in _SHOWN} for row in csv.DictReader(lines)}
    items = described(Encoder(teacher_file), [*photos, TALL_PHOTO])
    write_gallery(data, "objects", teacher_file, [replace(item, payload=shown[item.id]) for item in items])
    return data


@pytest.fixture
def served(small_data: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[RunningServer]:
    """A server of its own for a test, without a student. A parameter gives its options."""
    shutil.copytree(small_data, tmp_path / "data")
    options: tuple[str, ...] = getattr(request, "param", ())
    with RunningServer(tmp_path / "data", "--gallery", "objects", *options) as server:
        yield server


@pytest.fixture(scope="session")
def small(small_data: Path, tmp_path_factory: pytest.TempPathFactory, student_file: Path) -> Iterator[RunningServer]:
    """A server with the small gallery and a tiny student. Tests that share it leave it as it is."""
    data = tmp_path_factory.mktemp("shared") / "data"
    shutil.copytree(small_data, data)
    with RunningServer(data, "--gallery", "objects") as server:
        admit(server, student_file)
        yield server


def admit(server: RunningServer, student: Path) -> None:
    answer = server.http.post("/v1/galleries/objects/encoders", content=student.read_bytes())
    assert answer.status_code == 201, answer.text


@dataclass
class Browser:
    """A running Chromium, with its console messages and requests; `start` starts another one like it."""

    driver: webdriver.Chrome
    start: Callable[[], webdriver.Chrome]

    def console(self) -> list[str]:
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def requests(self) -> list[dict[str, Any]]:
        events = (json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance"))
        sent = (event["params"] for event in events if event["method"] == "Network.requestWillBeSent")
        # Leave out Chromium's own pages, such as the empty first tab.
        return [event["request"] for event in sent if urlsplit(event["request"]["url"]).scheme != "chrome"]

    def start_at(self, url: str) -> None:
        """Load the first page of a test. Chromium's tab sometimes crashes as it leaves the page of the test before: then it is started anew."""
        try:
            self.driver.get(url)
        except WebDriverException as error:
            if "tab crashed" not in str(error):
                raise
            warnings.warn(f"Chromium's tab crashed before {url} was loaded; Chromium is started again.", stacklevel=2)
            self.driver.quit()
            self.driver = self.start()
            self.driver.get(url)

    def leave(self) -> None:
        """Leave the page, and drop what it has logged and how large its window was."""
        self.driver.get("about:blank")
        self.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        for log in ("browser", "performance"):
            self.driver.get_log(log)

    def forget(self) -> None:
        """Leave the page, and drop what it has stored."""
        origin = urlsplit(self.driver.current_url)
        self.leave()
        if origin.scheme.startswith("http"):
            kept = {"origin": f"{origin.scheme}://{origin.netloc}", "storageTypes": "all"}
            self.driver.execute_cdp_cmd("Storage.clearDataForOrigin", kept)


@pytest.fixture(scope="session")
def shared_browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with open_browser(tmp_path_factory.mktemp("browser") / "profile") as opened:
        yield opened


@pytest.fixture
def browser(shared_browser: Browser) -> Iterator[Browser]:
    """A browser that knows nothing of a server or proxy that the test starts: each has a port, so an origin, of its own.

    What the last page of the test has stored is dropped afterwards.
    """
    shared_browser.leave()
    yield shared_browser
    shared_browser.forget()


@contextmanager
def open_browser(profile: Path, *flags: str, keeps_app: bool = False) -> Iterator[Browser]:
    """A Chromium with its own profile folder.

    `keeps_app`: whether it has service workers. Without one, not every page of every test fetches the app's 15 MB twice.
    """
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    chromedriver = shutil.which("chromedriver")
    if not chromium or not chromedriver:
        pytest.skip("Chromium or its driver is not installed (Debian: apt-get install chromium chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (*FLAGS, *flags, "--window-size=1100,900", f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})

    def start() -> webdriver.Chrome:
        driver = webdriver.Chrome(options=options, service=Service(chromedriver))
        if not keeps_app:
            script = {"source": "delete Navigator.prototype.serviceWorker"}
            driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", script)
        return driver

    opened = Browser(start(), start)
    try:
        yield opened
    finally:
        opened.driver.quit()
