"""The demo's gallery in the image of the demo: described, its student admitted, its offline pack made."""

from __future__ import annotations

from pathlib import Path

from askew_command import run_askew

GALLERY = "demo"
PACK_FIELDS = "title,author,licence,source"


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
    run_askew(askew, "index", str(demo / "gallery"), *into, "--encoder", teacher, *payloads)
    run_askew(askew, "admit", student, *into)
    # Devices may keep the gallery: its photos have open licences.
    pack = ["--fields", PACK_FIELDS, "--thumbnails", "160"]
    run_askew(askew, "gallery", "pack", GALLERY, "--data", str(data), *pack)
    marker.touch()
