"""What each call needs: one table of method, path and scope. A call that is not in it needs the scope admin."""

from __future__ import annotations

from typing import Literal

from askew_client.contract.keys import Scope

Need = Literal["open"] | Scope
"""The scope that a key must have, or that none is needed."""

_GALLERY = "/v1/galleries/{gallery}"
_TABLE: dict[Need, tuple[str, ...]] = {
    "open": (
        "GET /",
        "GET /page",
        "GET /page/{path}",
        "GET /healthz",
        "GET /livez",
        "GET /readyz",
        "GET /version",
        "GET /openapi.json",
        "GET /problems/{slug}",
    ),
    "search": (
        "POST /search",
        "POST /search/batch",
        "POST /search/photo",
        "GET /v1/galleries",
        f"GET {_GALLERY}",
        f"GET {_GALLERY}/index",
        f"POST {_GALLERY}/search",
        f"POST {_GALLERY}/search/batch",
        f"POST {_GALLERY}/search/photo",
        f"GET {_GALLERY}/items/{{item_id}}",
        f"GET {_GALLERY}/items/{{item_id}}/photo",
        f"GET {_GALLERY}/items/{{item_id}}/similar",
        "GET /v1/encoders",
        "GET /v1/encoders/best",
        "GET /v1/encoders/{encoder_id}",
        "GET /v1/encoders/{encoder_id}/manifest",
        "GET /v1/encoders/{encoder_id}/file",
    ),
    "write": (
        f"GET {_GALLERY}/items",
        f"PUT {_GALLERY}/items",
        f"POST {_GALLERY}/items/delete",
        f"POST {_GALLERY}/items/photos",
        f"PUT {_GALLERY}/items/{{item_id}}",
        f"DELETE {_GALLERY}/items/{{item_id}}",
        "GET /v1/jobs",
        "GET /v1/jobs/{job_id}",
        "POST /v1/jobs/{job_id}/cancel",
    ),
    "admin": (
        "GET /metrics",
        f"PUT {_GALLERY}",
        f"DELETE {_GALLERY}",
        f"PUT {_GALLERY}/index",
        f"POST {_GALLERY}/index/rebuild",
        f"POST {_GALLERY}/redescribe",
        f"POST {_GALLERY}/restore",
        f"GET {_GALLERY}/snapshots",
        f"POST {_GALLERY}/snapshots",
        f"GET {_GALLERY}/snapshots/{{snapshot}}",
        f"DELETE {_GALLERY}/snapshots/{{snapshot}}",
        f"POST {_GALLERY}/snapshots/{{snapshot}}/verify",
        f"POST {_GALLERY}/encoders",
        f"DELETE {_GALLERY}/encoders/{{encoder_id}}",
        f"PUT {_GALLERY}/encoders/{{encoder_id}}/default",
        f"GET {_GALLERY}/probes",
        f"PUT {_GALLERY}/probes/{{item_id}}",
        f"DELETE {_GALLERY}/probes/{{item_id}}",
        "GET /v1/aliases",
        "PUT /v1/aliases/{alias}",
        "DELETE /v1/aliases/{alias}",
        "GET /v1/keys",
        "POST /v1/keys",
        "DELETE /v1/keys/{key_id}",
    ),
}
_BEYOND_ONE_GALLERY = (f"POST {_GALLERY}/redescribe", f"POST {_GALLERY}/restore")
"""Calls on a gallery that read or make another one, named in their body."""


_OPEN_FOLDER = "/page/"
_RISING: tuple[Need, ...] = ("open", "search", "write", "admin")


_Literals = list[tuple[int, str]]
"""The segments of a pattern that are no parameters, each with its place."""


class Permissions:
    """Answers, from the table, what a call needs."""

    def __init__(self) -> None:
        self._lines: dict[tuple[str, int], list[tuple[_Literals, Need]]] = {}
        for need, calls in _TABLE.items():
            for call in calls:
                method, _, pattern = call.partition(" ")
                self._lines.setdefault((method, pattern.count("/")), []).append((_literals(pattern), need))
        self._beyond = [
            (pattern.count("/"), _literals(pattern))
            for _, _, pattern in (c.partition(" ") for c in _BEYOND_ONE_GALLERY)
        ]

    def need(self, method: str, path: str) -> Need:
        """The scope that a call needs: the greatest of all lines that it fits."""
        return max(self._fitting(method, path), key=_RISING.index, default="admin")

    def is_listed(self, method: str, path: str) -> bool:
        """Whether a line of the table fits a call; a route's template may stand for its path."""
        return bool(self._fitting(method, path))

    def is_of_one_gallery(self, path: str) -> bool:
        """Whether a call is about the one gallery that its path names, or the default one, and about no other."""
        segments, depth = path.split("/"), path.count("/")
        if any(depth == length and _fits(literals, segments) for length, literals in self._beyond):
            return False
        return gallery_of(path) is not None or path == "/search" or path.startswith("/search/")

    def _fitting(self, method: str, path: str) -> list[Need]:
        method = "GET" if method == "HEAD" else method
        if method == "GET" and path.startswith(_OPEN_FOLDER):
            return ["open"]
        segments = path.split("/")
        lines = self._lines.get((method, len(segments) - 1), [])
        return [need for literals, need in lines if _fits(literals, segments)]


def gallery_of(path: str) -> str | None:
    """The gallery, or its alias, that a path names."""
    segments = path.split("/")
    return segments[3] if segments[1:3] == ["v1", "galleries"] and len(segments) > 3 else None


def _literals(pattern: str) -> _Literals:
    # From the end, where patterns of one length differ.
    parts = list(enumerate(pattern.split("/")))
    return [(place, part) for place, part in reversed(parts) if not part.startswith("{")]


def _fits(literals: _Literals, segments: list[str]) -> bool:
    for place, part in literals:  # noqa: SIM110  # a generator takes three times as long, on every request
        if segments[place] != part:
            return False
    return True
