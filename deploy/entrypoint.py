"""The entry point of the server image: serve, and with DEMO=1 describe the demo gallery before the first start.

Arguments are passed on to `askew serve`. Environment: DEMO, DEMO_DIR, PORT, and the ASKEW_* settings.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

GALLERY = "demo"


def main() -> None:
    """Prepare the demo if DEMO=1, then become `askew serve`."""
    # The first process of a container ignores SIGTERM unless it has a handler. Indexing can be stopped at any time.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    askew = shutil.which("askew") or sys.exit(
        "Expected the command `askew` on the PATH of this image, but it was not found. Rebuild the image."
    )
    data = Path(os.environ.get("ASKEW_DATA", "/data"))
    serve = [askew, "serve", "--data", str(data), "--host", "0.0.0.0", "--listen-publicly"]
    serve += ["--port", os.environ.get("PORT", "8000")]
    if os.environ.get("DEMO") == "1":
        prepare_demo(askew, data, Path(os.environ.get("DEMO_DIR", "/usr/share/askew/demo")))
        serve += ["--gallery", GALLERY, "--photo-search"]
    os.execv(askew, serve + sys.argv[1:])


def prepare_demo(askew: str, data: Path, demo: Path) -> None:
    """Describe the demo gallery with its teacher and admit its student, once for each volume.

    A marker file is written at the end. Without it, the next start continues where this one was interrupted.
    """
    marker = data / ".demo-is-ready"
    if marker.exists():
        return
    into = ["--gallery", GALLERY, "--data", str(data)]
    teacher, student = (str(demo / "encoders" / f"{role}.onnx") for role in ("teacher", "student"))
    payloads = ["--payloads", str(demo / "credits.csv")]
    steps = (
        [askew, "index", str(demo / "gallery"), *into, "--encoder", teacher, *payloads],
        [askew, "admit", student, *into],
    )
    for step in steps:
        code = subprocess.run(step, check=False).returncode
        if code != 0:
            sys.exit(f"`{' '.join(step[:2])}` failed with exit code {code}; see above.")
    marker.touch()


if __name__ == "__main__":
    main()
