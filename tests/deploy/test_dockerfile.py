"""The Dockerfiles, read as text and by hadolint. `make test-slow` also builds one of them (test_image.py)."""

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

# For clusters of other engines, which have an environment of their own.
RECIPES = {"deploy/ray_index.py"}
DOCKERFILES = sorted((ROOT / "deploy").glob("*.Dockerfile"))
SERVER = ROOT / "deploy/server.Dockerfile"

each_dockerfile = pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)


def instructions(dockerfile: Path) -> list[tuple[str, str]]:
    text = re.sub(r"^\s*#.*\n", "", dockerfile.read_text(), flags=re.MULTILINE)
    lines = re.sub(r"\\\n\s*", " ", text).splitlines()
    return [(name, rest) for name, _, rest in (line.partition(" ") for line in lines if line.strip())]


def of(name: str, dockerfile: Path) -> list[str]:
    return [rest for instruction, rest in instructions(dockerfile) if instruction == name]


def stages(dockerfile: Path) -> dict[str, list[tuple[str, str]]]:
    """The instructions of each stage, with those of the stages that it continues; the last one without a name is ""."""
    found: dict[str, list[tuple[str, str]]] = {}
    name = ""
    for instruction, rest in instructions(dockerfile):
        if instruction == "FROM":
            base, _, name = rest.partition(" AS ")
            found[name] = list(found.get(base, []))
        elif found:
            found[name].append((instruction, rest))
    return found


def copied_from_the_checkout(dockerfile: Path) -> list[str]:
    return [source for rest in of("COPY", dockerfile) if not rest.startswith("--from") for source in rest.split()[:-1]]


@each_dockerfile
def test_hadolint_finds_nothing(dockerfile: Path) -> None:
    hadolint = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    if hadolint is None:
        pytest.skip("!! NOT RUN: hadolint has no package for this platform")
    checked = subprocess.run([hadolint, str(dockerfile)], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


@each_dockerfile
def test_it_does_not_run_as_root(dockerfile: Path) -> None:
    last_stage = stages(dockerfile)[""]
    assert [rest for name, rest in last_stage if name == "USER"] == ["10001"]
    names = [name for name, _ in last_stage]
    assert "RUN" not in names[names.index("USER") :]


@each_dockerfile
def test_what_builds_stays_out_of_the_last_stage(dockerfile: Path) -> None:
    text = " ".join(rest for name, rest in stages(dockerfile)[""] if name == "RUN")
    assert "pip" not in text and "venv" not in text
    assert "pip uninstall --yes pip" in dockerfile.read_text()


def test_the_server_and_its_demo_have_a_health_check_and_a_volume() -> None:
    for stage in ("", "demo"):
        found = stages(SERVER)[stage]
        assert [rest for name, rest in found if name == "VOLUME"] == ["/data"]
        health = [rest for name, rest in found if name == "HEALTHCHECK"]
        assert len(health) == 1 and "/usr/local/lib/askew/health.py" in health[0]


def test_the_demo_is_in_the_image_of_the_demo_alone() -> None:
    assert "demo/" not in " ".join(rest for _, rest in stages(SERVER)[""])
    assert "demo/gallery" in " ".join(rest for _, rest in stages(SERVER)["demo"])


@each_dockerfile
def test_images_and_packages_are_pinned(dockerfile: Path) -> None:
    bases = {rest.split()[0] for rest in of("FROM", dockerfile)} - set(stages(dockerfile))
    assert len(bases) == 1 and all(re.fullmatch(r"debian:\d+\.\d+-slim", base) for base in bases)
    installs = [rest for rest in of("RUN", dockerfile) if "pip install" in rest]
    assert installs and all("--constraint requirements/constraints.txt" in rest for rest in installs)


def test_all_images_are_based_on_the_same_release() -> None:
    assert len({re.search(r"^FROM (debian\S+)", path.read_text(), re.MULTILINE)[1] for path in DOCKERFILES}) == 1  # type: ignore[index]


def test_no_torch_gets_into_the_server() -> None:
    assert "training" not in " ".join(copied_from_the_checkout(SERVER))
    for package in ("client", "server"):
        project = tomllib.loads((ROOT / package / "pyproject.toml").read_text())["project"]
        extras = project.get("optional-dependencies", {}).values()
        wanted = [*project["dependencies"], *itertools.chain.from_iterable(extras)]
        assert not [need for need in wanted if re.match(r"(torch|timm|onnx\b(?!runtime))", need)]


def test_every_module_of_the_entry_point_is_copied() -> None:
    copied = set(copied_from_the_checkout(SERVER))
    assert {f"deploy/{path.name}" for path in (ROOT / "deploy").glob("*.py")} - RECIPES <= copied


@each_dockerfile
def test_everything_that_it_copies_exists_and_is_not_ignored(dockerfile: Path) -> None:
    let_in = _let_in()
    for source in copied_from_the_checkout(dockerfile):
        assert (ROOT / source).exists(), source
        assert any(fnmatch.fnmatch(source, pattern) for pattern in let_in), source


def test_nothing_is_sent_to_the_build_that_no_dockerfile_copies() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in lines
    copied = [source for path in DOCKERFILES for source in copied_from_the_checkout(path)]
    assert [each for each in _let_in() if not fnmatch.filter(copied, each)] == []


def _let_in() -> list[str]:
    return [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
