"""The sample for iOS cannot be compiled here: its golden pictures are computed from its text, its constants compared."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from askew_client.encoding.golden import GOLDEN_SIZES, draw_golden
from tests.support.paths import ROOT

NATIVE = ROOT / "client" / "native"
IOS = NATIVE / "ios" / "Askew"
ANDROID = NATIVE / "android" / "src" / "main" / "kotlin" / "askew"
REACT_NATIVE = NATIVE / "react-native" / "src"


def function(text: str, name: str) -> str:
    """From the name of a function to the end of its text, by its indentation."""
    start = text.index(name)
    indentation = re.search(r"( *)[^\n]*\Z", text[:start])
    assert indentation is not None
    return text[start : text.index("\n" + indentation.group(1) + "}", start)]


def numbers(text: str) -> list[int]:
    return [int(word, 0) for word in re.findall(r"\b0x[0-9a-f]+\b|\b\d+\b", text)]


def swift_colours() -> str:
    """The formula of the Swift file as a Python function."""
    lines = ["def colour(x, y, seed):", "    squared = lambda value: value * value"]
    for line in function((IOS / "GoldenPicture.swift").read_text(), "func colourAt").splitlines()[1:]:
        text = line.strip().replace("&&", "and").replace("||", "or").replace("/", "//")
        indent = " " * (len(line) - len(line.lstrip()) - 4)
        text = re.sub(r"^if (.*) \{ (return .*) \}$", r"if \1: \2", text)
        text = re.sub(r"^if (.*) \{$", r"if \1:", text)
        text = re.sub(r"^return (\w+) \? (.*) : (.*)$", r"return \2 if \1 else \3", text)
        lines.append(indent + text.removeprefix("let ").removesuffix("}"))
    return "\n".join(lines)


@pytest.mark.slow
def test_the_golden_formula_of_swift_gives_the_golden_pictures() -> None:
    scope: dict[str, object] = {}
    exec(swift_colours(), scope)
    colour = scope["colour"]
    assert callable(colour)
    width, height = 280, 210
    for name in GOLDEN_SIZES:
        seed = 3 + len(name)
        drawn = [
            [colour(column * 840 // width, row * 840 // height, seed) for column in range(width)]
            for row in range(height)
        ]
        np.testing.assert_array_equal(np.array(drawn, dtype=np.uint8), draw_golden(width, height, seed))


def test_the_sizes_of_the_golden_pictures() -> None:
    text = (IOS / "GoldenPicture.swift").read_text()
    found = re.findall(r'"(\w+)": \((\d+), (\d+)\)', text)
    assert {name: (int(width), int(height)) for name, width, height in found} == GOLDEN_SIZES
    assert "seed: 3 + name.count" in text


def test_float16_is_rounded_as_in_the_sample_that_runs() -> None:
    """The same numbers in the same order as in TypeScript, which is compared with numpy."""
    swift = (IOS / "Float16.swift").read_text()
    typescript = (REACT_NATIVE / "float16.ts").read_text()
    for name in ("roundToHalf(", "shiftToEven("):
        swift_text = function(swift, f"func {name}").replace("UInt32", "").replace("& 1 == 1", "& 1")
        assert numbers(swift_text) == numbers(function(typescript, f"function {name}")), name


@pytest.mark.parametrize(
    ("server", "encoder", "store"),
    [
        (IOS / "AskewServer.swift", IOS / "AskewEncoder.swift", IOS / "EncoderStore.swift"),
        (ANDROID / "AskewServer.kt", ANDROID / "Encoder.kt", ANDROID / "EncoderStore.kt"),
        (REACT_NATIVE / "api.ts", REACT_NATIVE / "encoder.ts", REACT_NATIVE / "encoder-store.ts"),
    ],
    ids=["ios", "android", "react-native"],
)
def test_every_sample_speaks_the_wire(server: Path, encoder: Path, store: Path) -> None:
    text = server.read_text()
    for word in ("application/octet-stream", "Askew-Space", "Askew-Dtype", "f16le", "Askew-Encoder", "Bearer "):
        assert word in text, word
    for path in ("v1/encoders/best", "/manifest", "/file", "v1/galleries/", "/search"):
        assert path in text, path
    assert re.search(r"distance\s*<=\s*(?:encoder\.)?manifest\.tolerance", encoder.read_text())
    assert "sha256" in store.read_text()
