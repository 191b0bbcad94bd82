"""The web app in a headless Chromium: starts, descriptions, searches with and without a network, and the bytes of each.

    python benchmarks/phone.py [--runs 25]

Serves the demo gallery, opens the app with a new profile (cold) and again (warm), describes a photo of 1600 × 1200 pixels
on one WebAssembly thread, and compares with the same encoder in onnxruntime for Python on one thread. Offline searches: in
offline packs of random codes, 256 bytes an item, on one thread, without the time that describing takes.
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
                        for items in (10_000, 100_000):
                            report_offline(driver, items, runs)


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


_OFFLINE = """
  const [items, runs, done] = arguments;
  import(new URL('page/askew-client.js', document.baseURI)).then(({PackIndex, readCodes}) => {
    const [dim, bytes] = [1280, 256];
    const codec = new Uint8Array(2 * dim + 4 * (bytes + 1) + 512 * dim);
    new Uint16Array(codec.buffer, 0, dim).forEach((_, place, order) => { order[place] = place; });
    new Uint32Array(codec.buffer, 2 * dim, bytes + 1).forEach((_, part, starts) => { starts[part] = part * dim / bytes; });
    // Any float16 between 0.004 and 0.03.
    const books = new Uint16Array(codec.buffer, 2 * dim + 4 * (bytes + 1));
    books.forEach((_, place) => { books[place] = 0x1c00 + Math.random() * 0x0c00 + (place & 1) * 0x8000; });
    const codes = Uint8Array.from({length: items * bytes}, () => Math.random() * 256);
    const scales = new Uint8Array(Float32Array.from({length: items}, () => 1).buffer);
    const text = new TextEncoder();
    const rows = Array.from({length: items}, (_, item) => text.encode(JSON.stringify([`item ${item}`, 'A title'])));
    const offsets = new Float64Array(items + 1);
    rows.forEach((row, item) => { offsets[item + 1] = offsets[item] + row.length; });
    const all = new Uint8Array(offsets[items]);
    rows.forEach((row, item) => all.set(row, offsets[item]));
    const header = {dim, items, fields: ['title'], codec: {kind: 'product', bytes, id: ''}};
    const index = new PackIndex(readCodes(header, codec, codes, scales), all, offsets);
    const spent = [];
    for (let run = 0; run < runs + 2; run++) {
      const query = Float32Array.from({length: dim}, () => (Math.random() - 0.5) / 10);
      const began = performance.now();
      if (index.search(query, {limit: 24}).length !== 24) throw new Error('hits are missing');
      spent.push(performance.now() - began);
    }
    done(spent.slice(2));
  }).catch(error => done(String(error)));
"""


def report_offline(driver: webdriver.Chrome, items: int, runs: int) -> None:
    driver.set_script_timeout(300)
    spent = driver.execute_async_script(_OFFLINE, items, runs)
    assert isinstance(spent, list), spent
    print(
        f"Chromium, 1 thread: offline search of {items:,} items of 256 bytes {statistics.median(spent):.1f} ms "
        f"(median of {runs}; slowest {max(spent):.1f} ms)"
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
        found = re.search(r'http://[^\s"]+', serving.stdout.readline())
        assert found is not None
        yield found[0]
    finally:
        serving.terminate()
        serving.wait(60)


if __name__ == "__main__":
    main()
