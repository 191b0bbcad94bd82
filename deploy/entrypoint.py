"""The entry point of the server image: serve, after what a first start needs.

Arguments are passed on to `askew serve`. Environment: PORT, FIRST_KEY=1 (docs/deploy.md), DEMO=1, DEMO_DIR and PHONE_HOST
(only in the image of the demo), every `ASKEW_…_FILE`, which names a secret, and the ASKEW_* settings.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from pathlib import Path

from first_key import make_first_key
from secret_files import missing_secrets


def main() -> None:
    """Check the secrets, prepare what was asked for, then become `askew serve`."""
    # The first process of a container ignores SIGTERM unless it has a handler. Indexing can be stopped at any time.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    if missing := missing_secrets(os.environ):
        sys.exit("\n".join(missing))
    askew = shutil.which("askew") or sys.exit(
        "Expected the command `askew` on the PATH of this image, but it was not found. Rebuild the image."
    )
    data = Path(os.environ.get("ASKEW_DATA", "/data"))
    if not os.access(data, os.W_OK | os.X_OK):
        sys.exit(
            f"Expected to write to {data} as user {os.getuid()}, which is not allowed or not there. Give the volume to "
            f"this user: chown {os.getuid()} on the host, or fsGroup: {os.getgid()} in Kubernetes."
        )
    serve = [askew, "serve", "--data", str(data), "--host", "0.0.0.0", "--listen-publicly"]
    serve += ["--port", os.environ.get("PORT") or "8000"]
    if os.environ.get("FIRST_KEY") == "1":
        make_first_key(askew, data)
    if os.environ.get("DEMO") == "1":
        serve += demo_options(askew, data)
    # What was printed would be lost with this program.
    sys.stdout.flush()
    os.execv(askew, serve + sys.argv[1:])


def demo_options(askew: str, data: Path) -> list[str]:
    """Prepare the demo, and say how a phone reaches it. Returns the options of `askew serve`."""
    try:
        from demo_gallery import GALLERY, prepare_demo
        from phone_address import show_the_way
    except ImportError as error:
        sys.exit(
            f"{error}. DEMO=1 needs the image of the demo: docker build --target demo -f deploy/server.Dockerfile ."
        )
    prepare_demo(askew, data, Path(os.environ.get("DEMO_DIR", "/usr/share/askew/demo")))
    if host := os.environ.get("PHONE_HOST"):
        show_the_way(askew, data, host)
    return ["--gallery", GALLERY, "--photo-search"]


if __name__ == "__main__":
    main()
