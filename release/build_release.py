"""Builds what is released into dist/: the three wheels, an SBOM of the server, the licences, and SHA256SUMS.

    .venv-release/bin/python release/build_release.py --environment .venv-image [--out dist]

`--environment`: one with just the packages of the server's image. The same commit gives the same bytes: times are those of
the commit (SOURCE_DATE_EPOCH), and the SBOM has no serial number.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from licences import check_licences, licence_page, read_licences

ROOT = Path(__file__).parents[1]
PACKAGES = ("client", "server", "training")


def version_of_all(root: Path) -> str:
    """The one version of the three packages. Raises SystemExit if they differ."""
    found = {
        package: tomllib.loads((root / package / "pyproject.toml").read_text())["project"]["version"]
        for package in PACKAGES
    }
    if len(set(found.values())) != 1:
        raise SystemExit(
            f"Expected one version in all packages, got {found}. Set the same one in every pyproject.toml."
        )
    return str(found["client"])


def commit_time(root: Path) -> str:
    """SOURCE_DATE_EPOCH, or the time of the last commit."""
    given = os.environ.get("SOURCE_DATE_EPOCH")
    return given or run("git", "log", "-1", "--format=%ct", cwd=root).strip()


def build_wheels(root: Path, out: Path, epoch: str) -> None:
    """Build the three wheels into `out`."""
    environment = {**os.environ, "SOURCE_DATE_EPOCH": epoch}
    for package in PACKAGES:
        run(
            sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out, root / package,
            cwd=root, environment=environment,
        )  # fmt: skip


def write_sbom(environment: Path, out: Path, version: str) -> None:
    """Write a CycloneDX document of the packages of an environment, the same for the same packages."""
    text = run(
        Path(sys.executable).with_name("cyclonedx-py"), "environment", "--output-reproducible", "--output-format", "JSON",
        "--pyproject", ROOT / "server/pyproject.toml", environment / "bin/python", cwd=ROOT,
    )  # fmt: skip
    document = without_places(json.loads(text))
    (out / f"askew-server-{version}.cdx.json").write_text(json.dumps(document, indent=1, sort_keys=True) + "\n")


def without_places(document: Any) -> Any:
    """A document without addresses of files on this machine, which are nobody's business and differ between checkouts."""
    if isinstance(document, dict):
        return {name: without_places(value) for name, value in document.items()}
    if isinstance(document, list):
        kept = [
            each for each in document if not (isinstance(each, dict) and str(each.get("url", "")).startswith("file:"))
        ]
        return [without_places(each) for each in kept]
    return document


def write_checksums(out: Path) -> None:
    """Write SHA256SUMS, as `sha256sum --check` reads it."""
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in sorted(out.iterdir())]
    (out / "SHA256SUMS").write_text("".join(lines))


def run(*command: object, cwd: Path, environment: dict[str, str] | None = None) -> str:
    """What a command prints. Raises SystemExit with its last words if it fails."""
    done = subprocess.run([*map(str, command)], cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"Expected `{' '.join(map(str, command))}` to work, but it ended with:\n{done.stderr[-2000:]}")
    return done.stdout


def main() -> None:
    """Run it from a command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--environment", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=ROOT / "dist")
    options = parser.parse_args()
    version, epoch = version_of_all(ROOT), commit_time(ROOT)
    with tempfile.TemporaryDirectory() as name:
        made = Path(name) / "dist"
        made.mkdir()
        build_wheels(ROOT, made, epoch)
        write_sbom(options.environment, made, version)
        licences = read_licences(options.environment)
        check_licences(licences)
        (made / "licences.md").write_text(licence_page(licences))
        write_checksums(made)
        # Only now, when everything is there: a release that failed leaves the earlier one.
        if options.out.exists():
            shutil.rmtree(options.out)
        shutil.copytree(made, options.out)
    print(f"Askew {version} is in {options.out}:\n{(options.out / 'SHA256SUMS').read_text()}", end="")


if __name__ == "__main__":
    main()
