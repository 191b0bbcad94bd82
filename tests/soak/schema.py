"""schemathesis over the whole OpenAPI document of a real server: no failure, no answer that the document does not tell.

python tests/soak/schema.py [--examples 100] [--seed 1]
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from running_server import RunningServer, run_askew
from small_encoders import make_encoder

DEMO = Path(__file__).parents[2] / "demo"
LEFT_OUT = "positive_data_acceptance"
"""A schema cannot say how long a vector must be, that it is of unit length, or which gallery there is."""


def run(examples: int, seed: int) -> int:
    """Run it; the exit code of schemathesis."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
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
        key = next(word for word in made.stdout.split() if word.startswith("ask_"))
        with RunningServer(data, "--photo-search") as server:
            command = [
                Path(sys.executable).with_name("st"), "run", f"{server.url}/openapi.json",
                "-H", f"Authorization: Bearer {key}", "--exclude-checks", LEFT_OUT, "--max-examples", str(examples),
                "--seed", str(seed), "--continue-on-failure", "--request-timeout", "60",
                "--suppress-health-check", "all", "--phases", "examples,coverage,fuzzing",
            ]  # fmt: skip
            code = subprocess.run(command, check=False, cwd=folder).returncode
            alive = server.http.get("/livez")
            print(f"the server lives: {alive.status_code}")
        return code


def main() -> int:
    """Run it from a command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    return run(options.examples, options.seed)


if __name__ == "__main__":
    sys.exit(main())
