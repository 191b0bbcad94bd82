"""The optional columns of a manifest that judge photos, for benchmarks beyond one instance and one list of matches.

| column | of | holds |
|---|---|---|
| `instance_ids`, instead of `instance_id` | all | the instances that the photo shows, separated by `;`; several for gallery photos alone |
| `junk` | gallery | the instances, separated by `;`, for whose queries the photo is neither right nor wrong |
| `bbox` | query | the box that is searched for: `x1 y1 x2 y2` in pixels of the photo as it is seen, from 0 |
| `ap` | query | the average precision of its set: `trapezoid` (if empty) or `standard` |

No manifest could be read without `instance_id` before there was `instance_ids`, so no id of an older one is split.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from askew_training.data.crops import Box

Definition = Literal["trapezoid", "standard"]
SEPARATOR = ";"
OPTIONAL = ("junk", "bbox", "ap")


@dataclass(frozen=True)
class Judgements:
    """`instances`: what the photo shows. `junk`: the instances for which it is junk. `box`: of a query."""

    instances: tuple[str, ...] = ()
    junk: tuple[str, ...] = ()
    box: Box | None = None
    average_precision: Definition = "trapezoid"


def judgements_of(row: Mapping[str, str | None], role: str) -> Judgements | tuple[str, str]:
    """Read the judging columns of a line; those that it lacks are empty.

    If they cannot be read: a few words for a count, and what was expected and what came.
    """
    instances = _split(row["instance_ids"]) if row.get("instance_ids") else (row.get("instance_id") or "",)
    junk, box_text, ap = (row.get(column) or "" for column in OPTIONAL)
    if len(instances) > 1 and role != "gallery":
        return "several instances", f"expected one instance of a photo with the role {role}, got {'; '.join(instances)}"
    if junk and role != "gallery":
        return "a column of another role", f"expected junk only with the role gallery, got {role}"
    if (box_text or ap) and role != "query":
        return "a column of another role", f"expected bbox and ap only with the role query, got {role}"
    box = _box(box_text)
    if box_text.strip() and box is None:
        return "no box", f"expected a bbox x1 y1 x2 y2 with x1 < x2 and y1 < y2, got {box_text[:80]!r}"
    if ap not in ("", "trapezoid", "standard"):
        return "an unknown average precision", f"expected the ap trapezoid or standard, got {ap[:80]!r}"
    if both := set(_split(junk)) & set(instances):
        return "contradicting judgements", f"expected a photo to show {min(both)} or to be junk for it, got both"
    return Judgements(
        tuple(instance for instance in instances if instance),
        _split(junk),
        box,
        "standard" if ap == "standard" else "trapezoid",
    )


def _split(text: str | None) -> tuple[str, ...]:
    return tuple(dict.fromkeys(part.strip() for part in (text or "").split(SEPARATOR) if part.strip()))


def _box(text: str) -> Box | None:
    try:
        x1, y1, x2, y2 = (float(value) for value in text.split())
    except ValueError:
        return None
    return (x1, y1, x2, y2) if math.isfinite(x1 + y1 + x2 + y2) and x1 < x2 and y1 < y2 else None
