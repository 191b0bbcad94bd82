"""Items with payloads of all kinds, and vectors of which some are equal."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np

from askew_client.contract.wire import pack
from askew_client.encoding.encoder import Encoder
from tests.support.running_server import RunningServer

Payloads = Mapping[str, dict[str, Any]]

_ODD: Payloads = {
    "null": {"kind": None, "price": 3},
    "missing": {},
    "list": {"kind": ["lamp", 7, True], "tags": ["sea", "sun"]},
    "empty": {"kind": [], "tags": ""},
    "number one": {"kind": 1, "price": 1.0},
    "true": {"kind": True, "price": True},
    "large": {"n": 9007199254740993},
    "even": {"n": 9007199254740992},
    "huge": {"n": 18446744073709551617},
    "float": {"n": 1.8446744073709552e19},
    "deep": {"place": {"city": "Lyon", "a.b": {"c": 1}}},
    "quote \"\\' é 𝄞": {"kind": "quote \"\\' é 𝄞", 'k"\\.': "x"},
    "long": {"kind": "x" * 60_000},
}
VARIED: Payloads = {
    **_ODD,
    **{
        f"item {number:03}": {
            "kind": ("lamp", "chair", "rug")[number % 3],
            "price": number * 0.5,
            "year": 1990 + number % 20,
            "made": f"{1990 + number % 20}-05-01",
            "maker": {"id": number % 7},
        }
        for number in range(150)
    },
}


def vectors_of(count: int, dim: int, seed: int = 0) -> np.ndarray:
    """Unit vectors, float32 [n, D]; every tenth is the one before."""
    vectors = np.random.default_rng(seed).standard_normal((count, dim)).astype(np.float32)
    vectors[9::10] = vectors[8::10][: len(vectors[9::10])]
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def send_items(server: RunningServer, gallery: str, payloads: Payloads, teacher: Encoder, seed: int = 0) -> Any:
    """Insert or replace items; the answer."""
    vectors = vectors_of(len(payloads), teacher.manifest.dim, seed)
    items = [{"id": item_id, "payload": payload} for item_id, payload in payloads.items()]
    header = json.dumps({"space": teacher.space_id, "dtype": "f16le", "items": items}).encode()
    body = struct.pack("<I", len(header)) + header + b"".join(map(pack, vectors))
    headers = {"Content-Type": "application/vnd.askew.items"}
    answer = server.http.put(f"/v1/galleries/{gallery}/items", content=body, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.json()
