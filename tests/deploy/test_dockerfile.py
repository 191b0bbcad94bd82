"""deploy/server.Dockerfile: read as text, because no Docker engine is at hand where the tests run."""

from __future__ import annotations

import fnmatch
import itertools
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.support.paths import ROOT

DOCKERFILE = ROOT / "deploy/server.Dockerfile"


def instructions() -> list[tuple[str, str]]:
    text = re.sub(r"^\s*#.*\n", "", DOCKERFILE.read_text(), flags=re.MULTILINE)
    lines = re.sub(r"\\\n\s*", " ", text).splitlines()
    return [(name, rest) for name, _, rest in (line.partition(" ") for line in lines if line.strip())]


def of(name: str) -> list[str]:
    return [rest for instruction, rest in instructions() if instruction == name]


def copied_from_the_checkout() -> list[str]:
    return [source for rest in of("COPY") if not rest.startswith("--from") for source in rest.split()[:-1]]


def test_hadolint_finds_nothing() -> None:
    hadolint = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    if hadolint is None:
        pytest.skip("hadolint has no package for this platform")
    checked = subprocess.run([hadolint, str(DOCKERFILE)], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_it_does_not_run_as_root() -> None:
    last_stage = instructions()[max(i for i, (name, _) in enumerate(instructions()) if name == "FROM") :]
    users = [rest for name, rest in last_stage if name == "USER"]
    assert users == ["10001"]
    names = [name for name, _ in last_stage]
    assert names.index("USER") < names.index("ENTRYPOINT")
    assert "RUN" not in names[names.index("USER") :]


def test_the_image_has_a_health_check_and_a_volume() -> None:
    assert len(of("HEALTHCHECK")) == 1
    assert "/readyz" in of("HEALTHCHECK")[0]
    assert of("VOLUME") == ["/data"]


def test_images_and_packages_are_pinned() -> None:
    assert set(re.findall(r"^FROM (\S+)", DOCKERFILE.read_text(), re.MULTILINE)) == {"python:3.12-slim"}
    installs = [rest for rest in of("RUN") if "pip install" in rest]
    assert installs and all("--constraint requirements/constraints.txt" in rest for rest in installs)


def test_no_torch_gets_in() -> None:
    assert "training" not in " ".join(copied_from_the_checkout())
    for package in ("client", "server"):
        project = tomllib.loads((ROOT / package / "pyproject.toml").read_text())["project"]
        extras = project.get("optional-dependencies", {}).values()
        wanted = [*project["dependencies"], *itertools.chain.from_iterable(extras)]
        assert not [need for need in wanted if re.match(r"(torch|timm|onnx\b(?!runtime))", need)]


def test_everything_that_it_copies_exists_and_is_not_ignored() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    let_in = [line[1:] for line in lines if line.startswith("!")]
    assert "*" in lines
    for source in copied_from_the_checkout():
        assert (ROOT / source).exists(), source
        assert any(fnmatch.fnmatch(source, pattern) for pattern in let_in), source
    assert sorted(copied_from_the_checkout()) == sorted(let_in)
