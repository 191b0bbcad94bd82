"""The shell blocks of the documents, and the folder of programs that they are run with."""

from __future__ import annotations

import re
import sys
from pathlib import Path

# For machines without jq: the part of it that the examples use.
_JQ = """#!{python}
import json, re, sys
found = json.load(sys.stdin)
for key, position in re.findall(r"[.](\\w+)|\\[(\\d+)\\]", sys.argv[2]):
    found = found[key] if key else found[int(position)]
print(found)
"""


def shell_blocks(page: Path) -> list[str]:
    """The shell blocks of a page, in their order."""
    return re.findall(r"^```sh\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)


def add_program(folder: Path, name: str, text: str) -> None:
    """Write a program that a shell with this folder in PATH finds."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text)
    (folder / name).chmod(0o755)


def add_jq(folder: Path) -> None:
    """Add the part of jq that the examples use."""
    add_program(folder, "jq", _JQ.format(python=sys.executable))
