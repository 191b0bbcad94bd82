"""schemathesis on the whole OpenAPI document of a real server: no failures, and no answer that the document lacks.

python tests/soak/schema.py [--examples 50] [--seed 1]
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.support.paths import DEMO
from tests.support.running_server import RunningServer, run_askew
from tests.support.small_encoders import make_encoder

EXCLUDED_CHECK = "positive_data_acceptance"
"""A schema cannot express a vector's number of values and unit length, or which galleries exist."""
WITH_FILTERS = r"/(search|search/batch|items/count|items/delete)$"
"""Paths whose body has a recursive filter: the coverage phase makes tens of thousands of cases for each of them."""
COVERAGE_SECONDS = 30
CONFIGURATION = """
[checks.negative_data_rejection]
# The statuses that schemathesis expects, and others in the document: too slow, too large, URL too long.
expected-statuses = [400, 401, 403, 404, 405, 406, 408, 409, 413, 415, 422, 428, 429, 431, "5xx"]

[[operations]]
# This path also matches items/{item_id} with the id "photos", so it allows more methods than the document lists for it.
include-path = "/v1/galleries/{gallery}/items/photos"
checks.allow_header_conformance.enabled = false
"""
THE_GALLERY = """
[parameters]
"path.gallery" = "default"
"""
"""Random gallery names mostly do not exist, and such requests end with a 404."""


def run(examples: int, seed: int) -> list[str]:
    """Run schemathesis and print its output; returns its failures, one line each."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data, key = _gallery(folder)
        with RunningServer(data, "--photo-search") as server:
            common = [
                f"{server.url}/openapi.json", "--url", server.url, "-H", f"Authorization: Bearer {key}", "--exclude-checks", EXCLUDED_CHECK, "--seed", str(seed),
                "--max-examples", str(examples), "--continue-on-failure", "--request-timeout", "60",
                "--suppress-health-check", "all", "--no-color", "--warnings", "off",
            ]  # fmt: skip
            problems = []
            for configuration in (CONFIGURATION, THE_GALLERY + CONFIGURATION):
                (folder / "schemathesis.toml").write_text(configuration)
                problems += _schemathesis(
                    folder, *common, "--phases", "examples,coverage,fuzzing", "--exclude-path-regex", WITH_FILTERS
                )
                problems += _schemathesis(
                    folder, *common, "--phases", "examples,fuzzing", "--include-path-regex", WITH_FILTERS
                )
                problems += _schemathesis(
                    folder, *common, "--phases", "coverage", "--include-path-regex", WITH_FILTERS, "--max-time", str(COVERAGE_SECONDS)
                )  # fmt: skip
            if server.process.poll() is not None or server.http.get("/livez").status_code != 200:
                problems.append("afterwards the server was not running")
            output = server.stop()
            if "Traceback" in output:
                problems.append(f"a traceback in the log: {output[:4000]}")
        return problems


def _gallery(folder: Path) -> tuple[Path, str]:
    """Make a DATA directory with a gallery of 20 photos. Returns it and an admin key."""
    teacher = make_encoder(folder / "teacher.onnx", role="teacher")
    photos = folder / "photos"
    photos.mkdir()
    for photo in sorted((DEMO / "gallery").glob("*.jpg"))[:20]:
        shutil.copy(photo, photos / photo.name)
    data = folder / "data"
    indexed = run_askew("index", photos, "--encoder", teacher, "--data", data)
    assert indexed.returncode == 0, indexed.stderr
    made = run_askew("key", "create", "soak", "--scope", "admin", "--data", data)
    assert made.returncode == 0, made.stderr
    return data, next(word for word in made.stdout.split() if word.startswith("ask_"))


def _schemathesis(folder: Path, *options: str) -> list[str]:
    command = [str(Path(sys.executable).with_name("st")), "--config-file", "schemathesis.toml", "run", *options]
    done = subprocess.run(command, check=False, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    print(done.stdout, flush=True)
    if done.returncode == 0:
        return []
    return re.findall(r"^- (.+)$", done.stdout, re.MULTILINE) or [f"schemathesis ended with {done.returncode}"]


def main() -> int:
    """Run it from the command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    problems = run(options.examples, options.seed)
    for problem in problems:
        print(f"PROBLEM: {problem}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
