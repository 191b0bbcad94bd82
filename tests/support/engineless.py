"""Images built and started without a container engine: buildah builds in a chroot, and the tree runs in namespaces.

It needs root, and Debian's packages buildah, mmdebstrap and util-linux.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from tests.support.paths import ROOT

SUITE = "trixie"
"""The release that the Dockerfiles name by its number: 13."""

_IN_NAMESPACES = """
set -eu
tree=$1; data=$2; more=$3; shift 3
mount --bind "$tree" "$tree"
mount -o remount,bind,ro "$tree"
mount -t proc proc "$tree/proc"
mount --rbind /dev "$tree/dev"
mount -t tmpfs -o mode=1777 tmpfs "$tree/tmp"
mount --bind "$data" "$tree/data"
mount --bind "$more" "$tree/mnt"
exec chroot "$tree" "$@"
"""


def what_is_missing() -> str | None:
    """Why no image can be built here, or None."""
    missing = [name for name in ("buildah", "mmdebstrap", "unshare", "setpriv", "chroot") if shutil.which(name) is None]
    if missing:
        return f"{', '.join(missing)} not found: apt-get install --no-install-recommends buildah mmdebstrap"
    return "it needs root" if os.getuid() != 0 else None


@dataclass(frozen=True)
class Image:
    """The tree of files of an image, and how its author wants it to be started."""

    tree: Path
    configuration: dict[str, Any]
    health: list[str]

    def start(
        self, data: Path, more: Path, environment: Mapping[str, str], command: Sequence[str] = (), **options: Any
    ) -> subprocess.Popen[bytes]:
        """Start the image's entry point, or a command, as the image's user and with a read-only root.

        `data` is its /data, and `more` its /mnt. Only `environment` and what the image sets is in its environment.
        """
        variables = [*self.configuration["Env"], *(f"{name}={value}" for name, value in environment.items())]
        user = self.configuration["User"]
        rights = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", "--no-new-privs"]
        rights += ["--bounding-set=-all", "--inh-caps=-all"]
        start = ["env", "--ignore-environment", f"--chdir={self.configuration['WorkingDir']}", *variables]
        return subprocess.Popen(
            [
                *("unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", _IN_NAMESPACES, "sh"),
                *(str(self.tree), str(data), str(more), *rights, *start),
                *(command or self.configuration["Entrypoint"]),
            ],
            **options,
        )

    def run(self, data: Path, more: Path, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run one command in the image to its end."""
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        with self.start(data, more, environment, command, **pipes) as started:
            out, err = started.communicate(timeout=600)
        return subprocess.CompletedProcess(command, started.returncode, out.decode(), err.decode())


def ask_to_stop(started: subprocess.Popen[bytes]) -> None:
    """SIGTERM for the image's first process, as an engine sends it."""
    (first,) = psutil.Process(started.pid).children()
    first.terminate()


class Builder:
    """Builds the images of a Dockerfile in a folder, from a Debian that it bootstraps in place of the base image."""

    def __init__(self, folder: Path) -> None:
        """Bootstrap the base. Takes a minute, and some hundred megabytes from Debian's archive."""
        self.folder = folder
        storage = os.environ.get("STORAGE_DRIVER", "overlay")
        self._buildah = f"buildah --root {folder}/store --runroot {folder}/run --storage-driver {storage}"
        _run("mmdebstrap", "--variant=minbase", SUITE, f"{folder}/base.tar")

    def build(self, dockerfile: Path, target: str) -> Image:
        """Build one target with the tree of the checkout as its context."""
        base = next(line.split()[1] for line in dockerfile.read_text().splitlines() if line.startswith("FROM "))
        tree, about = self.folder / target, self.folder / f"{target}.json"
        # In one mount namespace: what buildah mounts is gone when this ends.
        script = f"""
            set -eu
            if ! {self._buildah} inspect --type image {base} > /dev/null 2>&1; then
                container=$({self._buildah} from scratch)
                {self._buildah} add --quiet $container {self.folder}/base.tar /
                {self._buildah} commit --quiet $container {base}
            fi
            {self._buildah} build --isolation chroot --pull-never --layers --format docker {self._trust()} \\
                --file {dockerfile} --target {target} --tag localhost/{target} {ROOT}
            {self._buildah} inspect --type image localhost/{target} > {about}
            container=$({self._buildah} from --pull-never localhost/{target})
            cp --archive "$({self._buildah} mount $container)" {tree}
            {self._buildah} rm $container
        """
        _run("unshare", "--mount", "sh", "-c", script)
        described = json.loads(about.read_text())
        health = described["Docker"]["config"]["Healthcheck"]["Test"]
        return Image(tree, described["OCIv1"]["config"], health[1:])

    def _trust(self) -> str:
        """Whom pip trusts here, as options of the build: nothing of it gets into the image."""
        certificates = os.environ.get("PIP_CERT") or os.environ.get("SSL_CERT_FILE")
        if certificates is None:
            return ""
        settings = self.folder / "pip.conf"
        settings.write_text("[global]\ncert = /run/trusted.crt\n")
        return f"--volume {certificates}:/run/trusted.crt:ro --volume {settings}:/etc/pip.conf:ro"


def _run(*command: str) -> None:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert done.returncode == 0, done.stdout[-6000:]
