"""The web app in a headless Chromium: starts, descriptions, searches, and the bytes of each.

    python benchmarks/phone.py [--runs 25]

Serves the demo gallery, opens the app with a new profile (cold) and again (warm), describes a photo of 1600 × 1200 pixels
on one WebAssembly thread, and compares with the same encoder in onnxruntime for Python on one thread.
"""

from __future__ import annotations

import argparse
import gzip
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from askew_client import Encoder

ROOT = Path(__file__).parents[1]
DEMO = ROOT / "demo"
PAGE = ROOT / "server" / "askew_server" / "http" / "page"
STUDENT = DEMO / "encoders" / "student.onnx"
FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--window-size=412,915")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=25)
    runs: int = parser.parse_args().runs
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        photo = folder / "photo.jpg"
        with Image.open(DEMO / "gallery" / "chichen-itza.jpg") as small:
            small.resize((1600, 1200), Image.Resampling.LANCZOS).save(photo, quality=90)
        report_sizes()
        report_python(photo, runs)
        with serve(folder) as url:
            for name in ("cold", "warm"):
                # The first visit fills the profile that the second one has.
                with open_browser(folder / "profile") as driver:
                    began = time.perf_counter()
                    driver.get(f"{url}/")
                    wait_for_state(driver, "ready")
                    print(f"usable, {name} cache: {time.perf_counter() - began:.2f} s")
                    if name == "warm":
                        report_searches(driver, photo, runs)


def report_sizes() -> None:
    parts = {"app": 0, "engine": 0}
    for path in PAGE.iterdir():
        kind = "engine" if path.name.startswith("ort-") else "app"
        parts[kind] += len(gzip.compress(path.read_bytes(), 6))
    print(
        f"gzip: app {parts['app']:,} bytes, ONNX Runtime {parts['engine']:,}; encoder {STUDENT.stat().st_size:,} bytes"
    )


def report_python(photo: Path, runs: int) -> None:
    encoder = Encoder(STUDENT, threads=1)
    encoder.encode(photo)
    spent = []
    for _ in range(runs):
        began = time.perf_counter()
        encoder.encode(photo)
        spent.append(time.perf_counter() - began)
    print(f"Python, 1 thread: file to vector {1e3 * statistics.median(spent):.0f} ms (median of {runs})")


def report_searches(driver: webdriver.Chrome, photo: Path, runs: int) -> None:
    figures: list[tuple[float, float, int]] = []
    for run in range(runs + 2):
        driver.execute_script("document.querySelector('#figures').removeAttribute('data-bytes-sent')")
        driver.find_element(By.CSS_SELECTOR, "#photo-input").send_keys(str(photo))
        found = WebDriverWait(driver, 60).until(
            lambda _: driver.find_element(By.CSS_SELECTOR, "#figures").get_attribute("data-bytes-sent")
        )
        text = driver.find_element(By.CSS_SELECTOR, "#figures").text
        times = [float(each) for each in re.findall(r"([\d.]+) ms", text)]
        if run >= 2:
            figures.append((times[0], times[1], int(found)))
    describing, searching, sent = (statistics.median(column) for column in zip(*figures, strict=True))
    print(
        f"Chromium, 1 thread: file to vector {describing:.0f} ms, search {searching:.0f} ms, {sent:.0f} bytes sent of a photo "
        f"of {photo.stat().st_size:,} (medians of {runs})"
    )


def wait_for_state(driver: webdriver.Chrome, state: str) -> None:
    WebDriverWait(driver, 120, poll_frequency=0.02).until(
        lambda _: driver.find_element(By.TAG_NAME, "body").get_attribute("data-state") == state
    )


@contextmanager
def open_browser(profile: Path) -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or sys.exit("chromium is not installed.")
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    try:
        yield driver
    finally:
        driver.quit()


@contextmanager
def serve(folder: Path) -> Iterator[str]:
    askew = [sys.executable, "-m", "askew_client.cli.main"]
    into = ["--gallery", "demo", "--data", str(folder / "data")]
    teacher = ["--encoder", str(DEMO / "encoders" / "teacher.onnx"), "--payloads", str(DEMO / "credits.csv")]
    subprocess.run([*askew, "index", str(DEMO / "gallery"), *into, *teacher], check=True, capture_output=True)
    subprocess.run([*askew, "admit", str(STUDENT), *into], check=True, capture_output=True)
    serving = subprocess.Popen(
        [*askew, "serve", *into, "--port", "0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        assert serving.stdout is not None
        found = re.search(r"http://\S+", serving.stdout.readline())
        assert found is not None
        yield found[0]
    finally:
        serving.terminate()
        serving.wait(60)


if __name__ == "__main__":
    main()
