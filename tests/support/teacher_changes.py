"""A change of teacher as tests begin it, and how to know which phase of it a server is in."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import httpx

from tests.support.alias_writers import AliasWriters

LONG = 400.0
"""Seconds that a command may take on a machine that does other work: describing is of low priority."""
FILLED = 60
HOLD = 60
"""Seconds that a hold may last, the most: on a machine that runs other tests, describing three photos can take 10 s."""

Phase = Literal["describing", "catching up", "prepared", "held", "switched"]


def filled_ids() -> list[str]:
    """The ids of the items that the fixture `filled` adds to the old gallery."""
    return [f"filled-{n}" for n in range(1, FILLED + 1)]


def change_command(url: str, teacher_file: Path, *more: str | Path) -> list[str | Path]:
    """The command that makes the alias `live` name the gallery `fresh` of another teacher."""
    options: list[str | Path] = ["--to", "fresh", "--encoder", teacher_file, "--hold", str(HOLD), "--server", url]
    return ["gallery", "change-teacher", "live", *options, *more]


def ids_in(http: httpx.Client, gallery: str) -> set[str]:
    """The ids of all items of a gallery, however many clients have written meanwhile."""
    found: set[str] = set()
    wanted: dict[str, str | int] = {"limit": 1000}
    while True:
        page = http.get(f"/v1/galleries/{gallery}/items", params=wanted).json()
        found |= {each["id"] for each in page["items"]}
        if page.get("next_cursor") is None:
            return found
        wanted["cursor"] = page["next_cursor"]


def is_reached(phase: Phase, http: httpx.Client, writers: AliasWriters) -> bool:
    """Whether a server is in a phase of that change, or beyond it."""
    if phase == "describing":
        fresh = http.get("/v1/galleries/fresh")
        return fresh.status_code == 200 and fresh.json()["items"] >= 16
    if phase == "catching up":
        return any(each.get("total") and each["done"] >= each["total"] for each in changes(http, "live"))
    if phase == "prepared":
        return any(each["state"] == "done" for each in changes(http, "live"))
    is_switched = bool(http.get("/v1/aliases").json()["aliases"] == {"live": "fresh"})
    # A hold takes milliseconds, so that perhaps nobody writes in it.
    return is_switched or (phase == "held" and bool(writers.held))


def changes(http: httpx.Client, gallery: str) -> list[dict[str, Any]]:
    """The jobs that change the teacher of a gallery, newest first, without their results."""
    jobs = http.get("/v1/jobs", params={"gallery": gallery, "limit": 1000}).json()["jobs"]
    return [each for each in jobs if each["kind"] == "change-teacher"]
