"""Hostile bodies for everything that the server decodes, made from valid ones; each is a function of seed and number.

    python tests/soak/hostile_bodies.py [--count 10000] [--seed 0]

This sends `count` of them to each decoder of a real server. It fails on an answer of 500, an error that is not
problem+json, a traceback, a process that ended, or growing memory.
"""

from __future__ import annotations

import argparse
import base64
import json
import struct
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from urllib.parse import quote

import httpx
import numpy as np
import onnx
import psutil

sys.path.insert(0, str(Path(__file__).parents[2]))

from askew_client.contract.encoder_file import read_encoder_file
from askew_client.contract.wire import pack, pack_base64
from tests.support.hostile_values import ATOMS, SIZES, bomb, spoiled, spoiled_json, valid_photo
from tests.support.running_server import RunningServer
from tests.support.small_encoders import make_encoder, sealed

DIM = 64
GALLERY = "/v1/galleries/objects"
MAX_GROWTH = 60e6
"""Bytes by which the server's memory may grow after the first tenth of the bodies: the allocator's slack."""
_JSON_TYPE = {"Content-Type": "application/json"}


@dataclass(frozen=True)
class HostileBody:
    """One request; `path` is percent-encoded already."""

    method: str
    path: str
    headers: dict[str, str]
    content: bytes


@dataclass
class Report:
    """The result of a run; `problems` is empty if the server behaved correctly."""

    statuses: dict[str, Counter[int]] = field(default_factory=dict)
    megabytes: list[float] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


class Samples:
    """The valid values that hostile bodies are made from: a gallery's space, a vector, a photo, an encoder file."""

    def __init__(self, folder: Path) -> None:
        self.teacher = make_encoder(folder / "teacher.onnx", role="teacher", dim=DIM)
        student = make_encoder(folder / "student.onnx", role="student", dim=DIM, noise=0.1)
        self.student = student.read_bytes()
        self.model = onnx.load(student)
        manifest = read_encoder_file(student).manifest
        self.metadata = manifest.to_metadata()
        self.manifest = read_encoder_file(self.teacher).manifest.model_dump(mode="json", exclude_none=True)
        self.space = manifest.space_id
        self.vector = np.full(DIM, DIM**-0.5, dtype=np.float32)
        self.photos = [valid_photo(kind) for kind in ("JPEG", "PNG", "WEBP")]


def run(count: int, seed: int, report: Callable[[str], None] = lambda _: None) -> Report:
    """Send `count` hostile bodies to each decoder of a new server, and report the result."""
    result = Report()
    with tempfile.TemporaryDirectory() as folder:
        samples = Samples(Path(folder))
        server = RunningServer(Path(folder) / "data", "--gallery", "objects", "--photo-search")
        server.http.timeout = httpx.Timeout(120)
        created = server.http.put(GALLERY, content=samples.teacher.read_bytes())
        assert created.status_code == 201, created.text
        process = psutil.Process(server.process.pid)
        for decoder in DECODERS:
            counted: Counter[int] = Counter()
            for number in range(count):
                body = hostile_body(decoder, samples, seed, number)
                status = _send(server.http, body, f"{decoder} {seed} {number}", result)
                counted[status] += 1
                if server.process.poll() is not None:
                    result.problems.append(f"the server ended at {decoder} {seed} {number}")
                    return result
                if number in {count // 10, count - 1}:
                    result.megabytes.append(process.memory_info().rss / 1e6)
            result.statuses[decoder] = counted
            report(f"{decoder}: {dict(counted)}, {result.megabytes[-1]:.0f} MB")
            if result.megabytes[-1] - result.megabytes[-2] > MAX_GROWTH / 1e6:
                result.problems.append(f"{decoder}: memory grew from {result.megabytes[-2:]} MB")
        if server.http.get("/readyz").status_code != 200:
            result.problems.append("afterwards the server was not ready")
        output = server.stop()
        if "Traceback" in output:
            result.problems.append(f"a traceback in the log: {output[:2000]}")
    return result


def hostile_bodies(decoder: str, samples: Samples, count: int, seed: int) -> Iterator[HostileBody]:
    """The first `count` bodies for a decoder."""
    for number in range(count):
        yield hostile_body(decoder, samples, seed, number)


def hostile_body(decoder: str, samples: Samples, seed: int, number: int) -> HostileBody:
    """The body for a decoder with this seed and number."""
    return DECODERS[decoder](samples, Random(f"{seed} {decoder} {number}"))


def _send(http: httpx.Client, body: HostileBody, name: str, result: Report) -> int:
    headers = [(name.encode(), value.encode("latin-1")) for name, value in body.headers.items()]
    request = http.build_request(body.method, "/", headers=headers, content=body.content)
    # Set the path unchanged: httpx would encode it once more.
    request.url = request.url.copy_with(raw_path=body.path.encode())
    try:
        answer = http.send(request)
    except httpx.TransportError as error:
        result.problems.append(f"{name}: {type(error).__name__}: {error}")
        return 0
    if answer.status_code == 500:
        result.problems.append(f"{name}: 500: {body.path[:200]} {body.content[:300]!r}")
    if answer.status_code >= 400 and answer.headers.get("content-type") != "application/problem+json":
        result.problems.append(f"{name}: {answer.status_code} is not a problem: {answer.text[:200]}")
    return answer.status_code


# Decoders


def _raw_vector(samples: Samples, random: Random) -> HostileBody:
    dtype = random.choice(["f16le", "f32le"])
    vector = samples.vector.copy()
    for _ in range(random.randint(0, 3)):
        vector[random.randrange(DIM)] = random.choice([np.nan, np.inf, -np.inf, 1e38, 1e-45, -0.0, 65_504, 70_000])
    with np.errstate(over="ignore"):
        content = vector.astype("<f2" if dtype == "f16le" else "<f4").tobytes()
    headers = {
        "Content-Type": random.choice(
            ["application/octet-stream", "application/octet-stream", "APPLICATION/OCTET-STREAM; x=y", ""]
        ),
        "Askew-Space": random.choice([samples.space, samples.space, "", "sp1-", "\x80" * 40]),
        "Askew-Dtype": random.choice([dtype, dtype, "f16be", "", "float32", "x" * 5_000]),
        "Askew-Encoder": random.choice(["teacher@1", "", "no@1", "a" * 500, "\xff"]),
    }
    names = [
        "limit",
        "score_threshold",
        "max_false_match",
        "filter",
        "exclude",
        "with_payload",
        "group_by",
        "group_size",
        "exact",
        "x",
    ]
    options = [f"{random.choice(names)}={quote(random.choice(ATOMS)[:4_000])}" for _ in range(random.randint(0, 3))]
    path = random.choice(["/search", f"{GALLERY}/search"]) + ("?" + "&".join(options) if options else "")
    sent = spoiled(content, random) if random.random() < 0.6 else content
    return HostileBody("POST", path, {name: value for name, value in headers.items() if value}, sent)


def _query(samples: Samples, random: Random) -> dict[str, object]:
    vector: object = pack_base64(samples.vector) if random.random() < 0.5 else samples.vector.astype(float).tolist()
    return {"vector": vector, "dtype": "f16le", "space": samples.space, "encoder": "teacher@1"}


def _options(random: Random) -> dict[str, object]:
    return {
        "limit": 3,
        "filter": _condition(random),
        "exclude": ["a"],
        "with_payload": ["kind"],
        "with_vectors": True,
        "group_by": "kind",
        "group_size": 2,
        "exact": True,
        "score_threshold": 0.1,
    }


def _condition(random: Random, depth: int = 0) -> dict[str, object]:
    match random.randrange(7 if depth < 3 else 4):
        case 0:
            return {"field": "kind", "eq": random.choice([1, 1.5, "a", True])}
        case 1:
            return {"field": "place.city", "in": [1, "a", 2.5]}
        case 2:
            return {"field": "year", "range": {"gte": 1900, "lt": 2000.5}}
        case 3:
            return {"field": "author", "exists": True}
        case 4:
            return {"and": [_condition(random, depth + 1), _condition(random, depth + 1)]}
        case 5:
            return {"or": [_condition(random, depth + 1)]}
    return {"not": _condition(random, depth + 1)}


def _search_json(samples: Samples, random: Random) -> HostileBody:
    body = spoiled_json(_query(samples, random) | _options(random), random)
    return HostileBody("POST", "/search", _JSON_TYPE, body)


def _batch(samples: Samples, random: Random) -> HostileBody:
    queries = [_query(samples, random) for _ in range(random.randint(1, 3))]
    body = spoiled_json({"queries": queries, **_options(random)}, random)
    return HostileBody("POST", f"{GALLERY}/search/batch", _JSON_TYPE, body)


def _item(samples: Samples, random: Random) -> dict[str, object]:
    payload = {"kind": "a", "year": 1950, "place": {"city": "x"}, "list": [1, None]}
    return {
        "id": f"item-{random.randrange(20)}",
        "vector": pack_base64(samples.vector),
        "dtype": "f16le",
        "payload": payload,
    }


def _items_json(samples: Samples, random: Random) -> HostileBody:
    items = [_item(samples, random) for _ in range(random.randint(1, 3))]
    return HostileBody(
        "PUT", f"{GALLERY}/items", _JSON_TYPE, spoiled_json({"space": samples.space, "items": items}, random)
    )


def _items_raw(samples: Samples, random: Random) -> HostileBody:
    items = [{"id": f"raw-{random.randrange(20)}", "payload": {"kind": 1}} for _ in range(random.randint(1, 3))]
    header: object = {"space": samples.space, "dtype": "f16le", "items": items}
    text = spoiled_json(header, random) if random.random() < 0.5 else json.dumps(header).encode()
    length = len(text) if random.random() < 0.7 else random.choice(SIZES)
    content = struct.pack("<I", length) + text + pack(samples.vector) * len(items)
    sent = spoiled(content, random) if random.random() < 0.5 else content
    return HostileBody("PUT", f"{GALLERY}/items", {"Content-Type": "application/vnd.askew.items"}, sent)


def _deletion(_: Samples, random: Random) -> HostileBody:
    wanted = {"filter": _condition(random)} if random.random() < 0.5 else {"ids": ["none-1", "none-2"]}
    call = random.choice(["delete", "count"])
    return HostileBody("POST", f"{GALLERY}/items/{call}", _JSON_TYPE, spoiled_json(wanted, random))


def _filter(_: Samples, random: Random) -> HostileBody:
    text = quote(spoiled_json(_condition(random), random)[:6_000])
    cursor = quote(random.choice(["", "YQ", "%%%", "A" * 4_000, "\x00", "8J+Y", "//", "é"]))
    query = random.choice(
        [f"filter={text}", f"filter={text}&cursor={cursor}", f"cursor={cursor}&limit={random.choice(ATOMS[:16])}"]
    )
    return HostileBody("GET", f"{GALLERY}/items?{query}", {}, b"")


def _manifest(samples: Samples, random: Random) -> HostileBody:
    return HostileBody("PUT", GALLERY, _JSON_TYPE, spoiled_json({"teacher": samples.manifest}, random))


def _encoder(samples: Samples, random: Random) -> HostileBody:
    if random.random() < 0.5:
        return HostileBody("POST", f"{GALLERY}/encoders", {}, spoiled(samples.student, random))
    # A valid file, so that its manifest is parsed; the invalid role prevents the encoder from being run.
    metadata = {**samples.metadata, "askew.role": "oracle"}
    for _ in range(random.randint(1, 3)):
        name = random.choice(sorted(metadata))
        metadata[name] = random.choice(ATOMS).encode("utf-8", "replace").decode()
    return HostileBody("POST", f"{GALLERY}/encoders", {}, sealed(samples.model, {**metadata, "askew.role": "oracle"}))


def _photo_body(samples: Samples, random: Random) -> HostileBody:
    content = bomb(random) if random.random() < 0.1 else spoiled(random.choice(samples.photos), random)
    if random.random() < 0.5:
        return HostileBody("POST", "/search/photo?limit=1", {"Content-Type": "image/jpeg"}, content)
    payload = quote(spoiled_json({"kind": 1}, random)[:4_000])
    path = f"{GALLERY}/items/photo-{random.randrange(5)}?payload={payload}"
    return HostileBody("PUT", path, {"Content-Type": random.choice(["image/jpeg", "image/png", "image/x"])}, content)


def _form(samples: Samples, random: Random) -> HostileBody:
    boundary = b"boundary"
    vector = base64.b64encode(spoiled(pack(samples.vector), random))
    parts = [
        (b'name="photo"; filename="x.jpg"', random.choice(samples.photos)),
        (b'name="vector"', vector),
        (b'name="dtype"', b"f16le"),
        (b'name="space"', samples.space.encode()),
        (b'name="payload"', spoiled_json({"kind": 1}, random)),
    ] * random.choice((1, 1, 1, 3))
    random.shuffle(parts)
    content = b"".join(
        b"--" + boundary + b"\r\nContent-Disposition: form-data; " + name + b"\r\n\r\n" + value + b"\r\n"
        for name, value in parts
    )
    content += b"--" + boundary + b"--\r\n"
    kind = random.choice(
        ["multipart/form-data; boundary=boundary"] * 4
        + ["multipart/form-data", "multipart/form-data; boundary=" + "x" * 300]
    )
    sent = spoiled(content, random) if random.random() < 0.7 else content
    return HostileBody("PUT", f"{GALLERY}/items/form-{random.randrange(5)}", {"Content-Type": kind}, sent)


def _photos_form(samples: Samples, random: Random) -> HostileBody:
    boundary = b"boundary"
    names = [
        random.choice([f"p{n}", "../x", "..%2f", "", "a/b", "\x00", "x" * 600, "é"])
        for n in range(random.randint(1, 3))
    ]
    parts = [(f'name="photo"; filename="{name}"', random.choice(samples.photos)) for name in names]
    parts.append(('name="payloads"', spoiled_json({name: {"kind": 1} for name in names}, random)))
    content = b"".join(
        b"--" + boundary + b"\r\nContent-Disposition: form-data; " + name.encode() + b"\r\n\r\n" + value + b"\r\n"
        for name, value in parts
    )
    content += b"--" + boundary + b"--\r\n"
    # Truncated or corrupted, so that no job begins: there would be thousands.
    sent = content[: random.randrange(len(content) - 8)] if random.random() < 0.5 else spoiled(content[:-8], random)
    return HostileBody(
        "POST", f"{GALLERY}/items/photos", {"Content-Type": "multipart/form-data; boundary=boundary"}, sent
    )


def _small_json(samples: Samples, random: Random) -> HostileBody:
    method, path, value = random.choice(
        [
            ("PUT", "/v1/aliases/hostile", {"gallery": "absent"}),
            ("PUT", f"{GALLERY}/index", {"kind": "no-such"}),
            ("POST", f"{GALLERY}/redescribe", {"into": "absent", "estimate_only": True}),
            ("POST", "/v1/galleries/restored/restore", {"gallery": "objects", "snapshot": "absent"}),
            ("PUT", f"{GALLERY}/encoders/none@1/default", {"runtime": "web"}),
        ]
    )
    return HostileBody(method, path, _JSON_TYPE, spoiled_json(value, random))


def _path(_: Samples, random: Random) -> HostileBody:
    segments = ["..", "%2e%2e", "%2e%2e%2f%2e%2e%2f", "..%5c..%5c", "%00", "a%00b", "%ff%fe", "%ed%a0%80", "%zz", "%", "%25", ".", "", "a" * 900, "%F0%9F%92%A9", "objects", "%0d%0aX:%20y"]  # fmt: skip
    templates = [
        "/v1/galleries/{}", "/v1/galleries/{}/items", f"{GALLERY}/items/{{}}", f"{GALLERY}/items/{{}}/photo", f"{GALLERY}/items/{{}}/similar",
        "/v1/encoders/{}", "/v1/encoders/{}/file", "/v1/encoders/{}/manifest", f"{GALLERY}/snapshots/{{}}", "/v1/jobs/{}", "/v1/keys/{}",
        "/v1/aliases/{}", f"{GALLERY}/probes/{{}}", "/problems/{}", "/page/{}", "/{}",
    ]  # fmt: skip
    method = random.choice(["GET", "GET", "GET", "DELETE"])
    segment = "".join(random.choice(segments) for _ in range(random.randint(1, 3)))
    template = random.choice(templates)
    # The later bodies need the gallery, so it must not be deleted.
    deletes_gallery = method == "DELETE" and template == "/v1/galleries/{}" and segment == "objects"
    return HostileBody("GET" if deletes_gallery else method, template.format(segment), {}, b"")


DECODERS: dict[str, Callable[[Samples, Random], HostileBody]] = {
    "raw vector": _raw_vector,
    "search JSON": _search_json,
    "batch JSON": _batch,
    "items JSON": _items_json,
    "raw items": _items_raw,
    "deletion": _deletion,
    "filter and cursor": _filter,
    "manifest": _manifest,
    "encoder file": _encoder,
    "photo": _photo_body,
    "form": _form,
    "form of photos": _photos_form,
    "small JSON": _small_json,
    "path": _path,
}


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    outcome = run(arguments.count, arguments.seed, lambda line: print(line, flush=True))
    for problem in outcome.problems[:50]:
        print("FAILED:", problem)
    sys.exit(bool(outcome.problems))
