"""The licences of the packages in the server's image: read, checked, and written as docs/licences.md.

.venv-release/bin/python release/licences.py --environment .venv-image > docs/licences.md
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

REFUSED = re.compile(r"\bA?GPL|GNU (Affero )?General Public", re.IGNORECASE)
LESSER = re.compile(r"\bLGPL|Lesser General Public|Library or Lesser", re.IGNORECASE)


@dataclass(frozen=True)
class Licence:
    """One package: its name, version and the licence that it states."""

    name: str
    version: str
    licence: str


def read_licences(environment: Path) -> list[Licence]:
    """The packages of an environment, without Askew's own. Raises SystemExit if it cannot be read."""
    command = [
        str(Path(sys.executable).with_name("pip-licenses")), "--python", str(environment / "bin/python"), "--format=json",
        "--from=mixed",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"Expected an environment in {environment}, but pip-licenses says: {done.stderr[-1000:]}")
    found = [Licence(each["Name"], each["Version"], each["License"]) for each in json.loads(done.stdout)]
    return sorted((each for each in found if not each.name.startswith("askew")), key=lambda each: each.name.lower())


def check_licences(licences: list[Licence]) -> None:
    """Raises SystemExit if one is a GPL or an AGPL (an LGPL is none), is unknown, or there are none."""
    if not licences:
        raise SystemExit(
            "Expected packages in the environment, got none. Install ./client[cpu,cli] and ./server[cpu] there."
        )
    refused = [each for each in licences if REFUSED.search(LESSER.sub("", each.licence)) and " OR " not in each.licence]
    unknown = [each for each in licences if each.licence.upper() in ("", "UNKNOWN")]
    for what, those in (("a GPL or an AGPL", refused), ("no licence that it states", unknown)):
        if those:
            named = ", ".join(f"{each.name} {each.version} ({each.licence})" for each in those)
            raise SystemExit(f"Expected licences that allow any use in the server's image, got {what}: {named}.")


def licence_page(licences: list[Licence]) -> str:
    """docs/licences.md."""
    rows = [
        f"| {each.name} | {each.version} | {' '.join(each.licence.split()).replace('|', '/')} |" for each in licences
    ]
    return (
        "# Licences of the server image's packages\n\nAskew is under the Apache License 2.0. These Python packages are in the "
        "image of the server, with the licence\nthat each states in its metadata. None is under the GPL or the AGPL; `make "
        "release` fails if one is. The page is\nmade by `make licences`. Debian's packages in the image are not in it.\n\n"
        "| package | version | licence |\n|---|---|---|\n" + "\n".join(rows) + "\n"
    )


def main() -> None:
    """Run it from a command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--environment", type=Path, required=True)
    licences = read_licences(parser.parse_args().environment)
    check_licences(licences)
    print(licence_page(licences), end="")


if __name__ == "__main__":
    main()
