"""Values with wounds: bytes, JSON texts and pictures that no well-behaved client would send."""

from __future__ import annotations

import io
import json
import struct
import zlib
from random import Random

import numpy as np
from PIL import Image

# Bytes

SIZES = (0, 1, 2, 127, 128, 255, 256, 65_535, 65_536, 2**31 - 1, 2**31, 2**32 - 1)


def spoiled(content: bytes, random: Random) -> bytes:
    """Bytes with one to four wounds."""
    for _ in range(random.randint(1, 4)):
        position = random.randrange(len(content) + 1)
        match random.randrange(8):
            case 0:
                content = content[:position]
            case 1:
                content = content + random.randbytes(random.randint(1, 64))
            case 2:
                content = content[:position] + random.randbytes(random.randint(1, 8)) + content[position:]
            case 3:
                content = content[:position] + content[position + random.randint(1, 64) :]
            case 4 if content:
                flipped = bytearray(content)
                for _ in range(random.randint(1, 16)):
                    flipped[random.randrange(len(flipped))] ^= 1 << random.randrange(8)
                content = bytes(flipped)
            case 5:
                size = struct.pack(random.choice("<>") + "I", random.choice(SIZES))
                content = content[:position] + size + content[position + 4 :]
            case 6:
                content = random.randbytes(random.randint(0, 300))
            case _:
                content = content[:position] * 2
    return content


# JSON

ATOMS: tuple[str, ...] = (
    "null", "true", "false", "0", "-0", "1", "-1", "1.5", "1e999", "-1e999", "1e-999", "NaN", "Infinity", "9" * 25, "9" * 400,
    "9" * 5_000, "0." + "1" * 5_000, "9223372036854775807", "9223372036854775808", "-9223372036854775809", '""', '"a"', '"\\u0000"',
    '"\\ud800"', '"\\udfff\\ud800"', '"\\uffff"', '"\x7f"', '"' + "é" * 300 + '"', '"' + "A" * 100_000 + '"', '"../../etc/passwd"',
    '"sp1-' + "0" * 32 + '"', "[]", "{}", "[[]]", '{"": {}}', "[" * 150 + "]" * 150, "[" * 100_000, '{"a":' * 5_000, '{"a":' * 180 + "1" + "}" * 180,
    "[" + "0," * 50_000 + "0]", '{"a":1,"a":2}', "{" + ",".join(f'"k{n}":{n}' for n in range(5_000)) + "}", "01", "+1", ".5", "'a'",
    "// x", "undefined", "\ufeff{}", '"$.a"', '"a.b.c.d.e.f.g.h.i.j"', '"a[0]"', '"\\"; DROP TABLE items; --"', "1.7976931348623157e308",
)  # fmt: skip
"""JSON texts, and texts that are not JSON."""

_KEYS = ("vector", "dtype", "space", "encoder", "limit", "filter", "items", "id", "payload", "queries", "field", "eq", "in", "range",
         "exists", "and", "or", "not", "gt", "teacher", "exclude", "with_payload", "with_vectors", "group_by", "group_size", "exact",
         "score_threshold", "max_false_match", "", "__proto__", "x" * 1_000)  # fmt: skip


class _Text:
    """A JSON text in the place of a value."""

    def __init__(self, text: str) -> None:
        self.text = text


def _text_of(value: object) -> str:
    """The value as JSON; where a text stands in it, that text."""
    if isinstance(value, _Text):
        return value.text
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(key)}:{_text_of(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_text_of, value)) + "]"
    return json.dumps(value)


def spoiled_json(value: object, random: Random) -> bytes:
    """A JSON value with one to three wounds in its tree, and now and then some in its text."""
    for _ in range(random.randint(1, 3)):
        value = _wounded(value, random)
    content = _text_of(value).encode("utf-8", "surrogatepass")
    match random.randrange(12):
        case 0:
            return spoiled(content, random)
        case 1:
            return content.decode("utf-8", "replace").encode(random.choice(("utf-16", "utf-32", "latin-1")), "replace")
        case 2:
            return content.replace(b'"', random.choice((b"'", b"\xff", b"\x00")), random.randint(1, 3))
    return content


def _wounded(value: object, random: Random) -> object:
    if isinstance(value, dict) and value and random.random() < 0.8:
        chosen = random.choice(list(value))
        match random.randrange(6):
            case 0:
                return {key: each for key, each in value.items() if key != chosen}
            case 1:
                return {**value, random.choice(_KEYS): _Text(random.choice(ATOMS))}
            case 2:
                return {(random.choice(_KEYS) if key == chosen else key): each for key, each in value.items()}
        return {**value, chosen: _wounded(value[chosen], random)}
    if isinstance(value, list) and value and random.random() < 0.7:
        position = random.randrange(len(value))
        match random.randrange(4):
            case 0:
                return value[:position] + value[position + 1 :]
            case 1:
                return value * random.choice((0, 2, 30))
        return [*value[:position], _wounded(value[position], random), *value[position + 1 :]]
    return _Text(random.choice(ATOMS))


# Pictures


def bomb(random: Random) -> bytes:
    """A PNG of some kilobytes that states up to 30,000 × 30,000 pixels, or more."""
    side = random.choice([5_000, 20_000, 30_000, 2**31 - 1])
    return png(struct.pack(">IIBBBBB", side, side, 8, random.choice([0, 2, 6]), 0, 0, 0), bytes(4_000_000))


def png(header: bytes, rows: bytes) -> bytes:
    """A PNG of these 13 bytes of header and these rows, whether they fit or not."""
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        len(content).to_bytes(4, "big") + kind + content + zlib.crc32(kind + content).to_bytes(4, "big")
        for kind, content in ((b"IHDR", header), (b"IDAT", zlib.compress(rows, 9)), (b"IEND", b""))
    )


def valid_photo(kind: str) -> bytes:
    """A small photo of a format."""
    stream = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(stream, kind)
    return stream.getvalue()
