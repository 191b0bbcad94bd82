"""The entry point of the server image: with DEMO=1, describe the demo gallery on the first start; then serve.

Arguments are handed on to `askew serve`. Environment: DEMO, PORT, and Askew's own ASKEW_* settings.
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
    """Prepare the demo where it is asked for, then become `askew serve`."""
    # A container's first process ignores SIGTERM unless it says otherwise; indexing survives being stopped.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    askew = shutil.which("askew") or sys.exit("There is no `askew` command in this image.")
    data = Path(os.environ.get("ASKEW_DATA", "/data"))
    serve = [askew, "serve", "--data", str(data), "--host", "0.0.0.0", "--listen-publicly"]
    serve += ["--port", os.environ.get("PORT", "8000")]
    if os.environ.get("DEMO") == "1":
        prepare_demo(askew, data, Path(os.environ.get("DEMO_DIR", "/usr/share/askew/demo")))
        serve += ["--gallery", GALLERY, "--photo-search"]
    os.execv(askew, serve + sys.argv[1:])


def prepare_demo(askew: str, data: Path, demo: Path) -> None:
    """Describe the demo gallery with its teacher and admit its student, once for each volume.

    The mark is written last: a first start that was cut off is taken up where it stopped.
    """
    mark = data / ".demo-is-ready"
    if mark.exists():
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
    mark.touch()


if __name__ == "__main__":
    main()
