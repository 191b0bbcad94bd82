"""The sample for Android: its pure parts, compiled with Debian's Kotlin and run."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from askew_client.contract.encoder_file import read_encoder_file
from askew_client.encoding.cap import cap_pixels
from tests.client.native.expected import awkward_vector, golden_digests
from tests.support.paths import ROOT
from tests.support.small_encoders import make_encoder

SOURCES = ROOT / "client" / "native" / "android" / "src" / "main" / "kotlin" / "askew"
PURE = ["Digest.kt", "Float16.kt", "GoldenPicture.kt", "Pixels.kt"]
MAIN = """
import askew.*
import java.io.File
import java.nio.*
import java.security.MessageDigest

fun hex(bytes: ByteArray) = MessageDigest.getInstance("SHA-256").digest(bytes).joinToString("") { "%02x".format(it) }

fun main(given: Array<String>) {
    val words = File("vector").readBytes()
    val floats = ByteBuffer.wrap(words).order(ByteOrder.LITTLE_ENDIAN).asFloatBuffer()
    File("packed").writeBytes(Float16.pack(FloatArray(words.size / 4) { floats.get(it) }))
    val argb = ByteBuffer.wrap(File("argb").readBytes()).order(ByteOrder.LITTLE_ENDIAN).asIntBuffer()
    val photo = toPixels(2700, 1300, 240) { y, row -> for (x in row.indices) row[x] = argb.get(2700 * y + x) }
    File("capped").writeBytes(photo.data)
    val encoder = File("encoder.onnx").readBytes()
    val intact = isIntact(encoder, given[0])
    encoder[encoder.size / 2] = (encoder[encoder.size / 2] + 1).toByte()
    val tooLarge = try { Float16.pack(floatArrayOf(70000f)); "" } catch (refused: IllegalArgumentException) { "refused" }
    for (name in listOf("large", "thin", "small")) println("$name " + hex(GoldenPicture.draw(name).data))
    println("1x1 " + hex(GoldenPicture.draw(1400, 1400, 8).data))
    println("intact $intact")
    println("damaged ${isIntact(encoder, given[0])}")
    println("tooLarge $tooLarge")
}
"""


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_pure_parts_compute_what_python_computes(tmp_path: Path) -> None:
    if shutil.which("kotlinc") is None or shutil.which("kotlin") is None:
        pytest.skip("!! NOT RUN: the Android sample was not compiled, because kotlinc is missing (Debian: kotlin).")
    encoder = make_encoder(tmp_path / "encoder.onnx", role="student")
    vector = awkward_vector()
    (tmp_path / "vector").write_bytes(vector.tobytes())
    photo = np.random.default_rng(2).integers(0, 256, (1300, 2700, 3), dtype=np.uint8)
    alpha = np.full((1300, 2700, 1), 255, dtype=np.uint8)
    # An int 0xAARRGGBB, little-endian.
    (tmp_path / "argb").write_bytes(np.concatenate([photo[:, :, ::-1], alpha], axis=2).tobytes())
    (tmp_path / "Main.kt").write_text(MAIN)
    compiled = subprocess.run(
        ["kotlinc", *(SOURCES / name for name in PURE), "Main.kt", "-d", "classes"],
        cwd=tmp_path,
        # A short run: the optimising compiler of Java costs more than it saves.
        env={**os.environ, "JAVA_OPTS": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert compiled.returncode == 0, compiled.stderr
    ran = subprocess.run(
        ["kotlin", "-cp", "classes", "MainKt", read_encoder_file(encoder).sha256],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    found = dict(line.split(" ", 1) for line in ran.stdout.splitlines())
    expected = {**golden_digests(), "intact": "true", "damaged": "false", "tooLarge": "refused"}
    assert json.dumps(found) == json.dumps(expected)
    assert (tmp_path / "packed").read_bytes() == vector.astype("<f2").tobytes()
    assert (tmp_path / "capped").read_bytes() == cap_pixels(photo, 240).tobytes()
