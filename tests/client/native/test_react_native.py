"""The sample for React Native: its pure parts run under node, its types are checked."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import numpy as np
import pytest

from askew_client import Client, Encoder
from askew_client.contract.encoder_file import read_encoder_file
from askew_client.encoding.cap import cap_pixels
from tests.client.native.expected import awkward_vector, golden_digests
from tests.client.native.node import SAMPLE, npm, run_node
from tests.support.running_server import RunningServer
from tests.support.small_encoders import make_encoder

UNREACHABLE = ("ENOTFOUND", "ECONNREFUSED", "ETIMEDOUT", "EAI_AGAIN", "ENETUNREACH", "ECONNRESET", "E404")
PURE_PARTS = """
import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { drawGolden, drawGoldenPicture } from "SRC/golden-picture.ts";
import { packFloat16, readFloat32 } from "SRC/float16.ts";
import { toPixels } from "SRC/pixels.ts";
import { verify } from "SRC/digest.ts";

const hex = (bytes) => createHash("sha256").update(bytes).digest("hex");
const hash = async (bytes) => new Uint8Array(createHash("sha256").update(bytes).digest());
const given = JSON.parse(readFileSync("given.json", "utf8"));
const refused = async (file) => verify(file, given.sha256, hash).then(() => "", (error) => error.message);
const encoder = new Uint8Array(readFileSync("encoder.onnx"));
const damaged = encoder.slice();
damaged[damaged.length >> 1] ^= 1;
const rgba = new Uint8Array(readFileSync("rgba"));
const capped = toPixels(rgba, given.width, given.height, given.photoSize);
let tooLarge = "";
try { packFloat16(new Float32Array([70000])); } catch (error) { tooLarge = error.name; }
writeFileSync("packed", packFloat16(readFloat32(given.vector)));
writeFileSync("capped", capped.data);
writeFileSync("found.json", JSON.stringify({
  golden: {
    ...Object.fromEntries(["large", "thin", "small"].map((name) => [name, hex(drawGoldenPicture(name).data)])),
    "1x1": hex(drawGolden(1400, 1400, 8).data),
  },
  intact: await refused(encoder),
  damaged: await refused(damaged),
  tooLarge,
}));
"""


@pytest.mark.slow
def test_pure_parts_compute_what_python_computes(tmp_path: Path) -> None:
    encoder = make_encoder(tmp_path / "encoder.onnx", role="student")
    random = np.random.default_rng(2)
    photo = random.integers(0, 256, (1300, 2700, 3), dtype=np.uint8)
    alpha = np.full((1300, 2700, 1), 255, dtype=np.uint8)
    (tmp_path / "rgba").write_bytes(np.concatenate([photo, alpha], axis=2).tobytes())
    vector = awkward_vector()
    given = {
        "sha256": read_encoder_file(encoder).sha256,
        "vector": base64.b64encode(vector.tobytes()).decode(),
        "width": 2700,
        "height": 1300,
        "photoSize": 240,
    }
    (tmp_path / "given.json").write_text(json.dumps(given))
    (tmp_path / "check.mjs").write_text(PURE_PARTS.replace("SRC", (SAMPLE / "src").as_uri()))
    ran = run_node(["check.mjs"], tmp_path)
    assert ran.returncode == 0, ran.stderr
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["golden"] == golden_digests()
    assert (tmp_path / "packed").read_bytes() == vector.astype("<f2").tobytes()
    assert found["tooLarge"] == "RangeError"
    assert (tmp_path / "capped").read_bytes() == cap_pixels(photo, 240).tobytes()
    assert found["intact"] == ""
    assert found["damaged"].startswith("Expected an encoder file with SHA-256")


WIRE = """
import { writeFileSync } from "node:fs";
import { createHash } from "node:crypto";
import { AskewServer, ServerProblem } from "SRC/api.ts";
import { readFloat32 } from "SRC/float16.ts";
import { verify } from "SRC/digest.ts";

const [address, vector] = process.argv.slice(2);
const server = new AskewServer(address + "/", "museum");
const best = await server.bestEncoder("android");
const manifest = await server.manifest(best.id);
const file = await server.encoderFile(best.id);
await verify(file, best.sha256, async (bytes) => new Uint8Array(createHash("sha256").update(bytes).digest()));
const hits = await server.search(readFloat32(vector), manifest, 3);
const foreign = { ...manifest, space_id: "sp1-" + "0".repeat(32) };
const refused = await server.search(readFloat32(vector), foreign).then(() => "", (error) => error);
const silent = await new AskewServer("http://127.0.0.1:1", "museum").manifest("x").then(() => "", (error) => error);
writeFileSync("found.json", JSON.stringify({
  best: best.id, bytes: file.length, hits, refused: refused.message,
  status: refused instanceof ServerProblem ? refused.status : 0,
  silent: silent instanceof ServerProblem ? "a problem" : silent.message,
}));
"""


@pytest.mark.slow
def test_it_fetches_the_encoder_and_searches_a_real_server(
    teacher_file: Path, student_file: Path, photos: list[Path], tmp_path: Path
) -> None:
    teacher, student = Encoder(teacher_file), Encoder(student_file)
    (tmp_path / "check.mjs").write_text(WIRE.replace("SRC", (SAMPLE / "src").as_uri()))
    vector = base64.b64encode(student.encode(photos[3]).tobytes()).decode()
    with RunningServer(tmp_path / "data", "--gallery", "museum") as server:
        with Client(server.url) as client:
            client.create_gallery("museum", teacher_file)
            for photo in photos:
                vectors = teacher.encode(photo)
                client.upsert_photo(photo.stem, photo, gallery="museum", vector=vectors, space=teacher.space_id)
            client.admit(student_file, gallery="museum")
        ran = run_node(["check.mjs", server.url.rstrip("/"), vector], tmp_path)
    assert ran.returncode == 0, ran.stderr
    found = json.loads((tmp_path / "found.json").read_text())
    assert (found["best"], found["bytes"]) == ("student@1", student_file.stat().st_size)
    assert found["hits"][0]["id"] == photos[3].stem
    assert "space" in found["refused"]
    assert found["status"] == 409
    assert found["silent"].startswith("The server did not answer.")


@pytest.mark.installs
@pytest.mark.timeout(300)
def test_its_types_are_right(tmp_path: Path) -> None:
    """All but the files that need react-native, Skia and Expo, whose packages take 800 MB: docs/native.md."""
    package = json.loads((SAMPLE / "package.json").read_text())
    versions = {**package["dependencies"], **package["devDependencies"]}
    wanted = [f"{name}@{versions[name]}" for name in ("typescript", "onnxruntime-react-native")]
    (tmp_path / "package.json").write_text('{"private": true, "type": "module"}')
    options = ["--ignore-scripts", "--no-audit", "--no-fund", "--legacy-peer-deps"]
    installed = run_node([npm(), "install", *options, *wanted], tmp_path)
    if installed.returncode != 0 and any(code in installed.stderr for code in UNREACHABLE):
        pytest.skip("!! NOT RUN: the React Native sample was not type-checked, because npm cannot be reached.")
    assert installed.returncode == 0, installed.stderr
    heavy = {"decode-photo.ts", "encoder-store.ts", "SearchScreen.tsx"}
    (tmp_path / "src").mkdir()
    for source in (SAMPLE / "src").iterdir():
        if source.name not in heavy:
            (tmp_path / "src" / source.name).write_bytes(source.read_bytes())
    (tmp_path / "tsconfig.json").write_bytes((SAMPLE / "tsconfig.json").read_bytes())
    compiler = tmp_path / "node_modules" / "typescript" / "bin" / "tsc"
    checked = run_node([compiler, "--project", "tsconfig.json"], tmp_path)
    assert checked.returncode == 0, checked.stdout
    (tmp_path / "src" / "wrong.ts").write_text('import { packFloat16 } from "./float16.ts";\npackFloat16("text");\n')
    assert run_node([compiler, "--project", "tsconfig.json"], tmp_path).returncode != 0
