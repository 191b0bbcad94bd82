"""The snapshot file: an uncompressed tar that any tar program unpacks.

    manifest.json                what the gallery was, and length and SHA-256 of every member that follows, in order
    gallery.db                   the database, one file
    photos/ab/ab….jpg, probes/….jpg, encoders/….onnx

It is read by a reader of its own, because a snapshot may come from anywhere: a member is a plain file whose name is
one of these, of the length that the manifest states, or the file is refused. The manifest is bounded and comes first,
nothing is compressed, and what the manifest states must add up to the length of the file: so nothing can grow while it
is unpacked.
"""

from __future__ import annotations

import hashlib
import os
import re
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from pydantic import ValidationError

from askew_client.contract.problems import ProblemKind
from askew_client.contract.snapshots import SNAPSHOT_FORMAT, SnapshotManifest, SnapshotMember
from askew_server.errors import Refusal

Advance = Callable[[int, int], None]
"""advance(done, total) in bytes; it may raise, to stop the work."""

DATABASE = "gallery.db"
MEMBER_NAMES = re.compile(
    r"gallery\.db|photos/([0-9a-f]{2})/\1[0-9a-f]{62}\.(?:jpg|png|webp)|probes/[0-9a-f]{64}\.(?:jpg|png|webp)"
    r"|encoders/[0-9a-f]{64}\.onnx"
)
MAX_MANIFEST_BYTES = 256 * 1024 * 1024

_MANIFEST = "manifest.json"
_BLOCK = tarfile.BLOCKSIZE
_CHUNK = 1024 * 1024
_END = bytes(2 * _BLOCK)


def write_snapshot(folder: Path, manifest: SnapshotManifest, stream: BinaryIO, advance: Advance) -> tuple[int, str]:
    """Write the members of `manifest`, which lie under `folder`, as a snapshot: its length and SHA-256.

    Raises Refusal (damaged-gallery) where a file has not the bytes that the manifest states.
    """
    digest = hashlib.sha256()
    written = 0

    def write(content: bytes) -> None:
        nonlocal written
        stream.write(content)
        digest.update(content)
        written += len(content)

    text = manifest.model_dump_json().encode()
    total = _length(len(text), manifest)
    write(_header(_MANIFEST, len(text)) + text + bytes(_padding(len(text))))
    for member in manifest.members:
        write(_header(member.path, member.bytes))
        found = hashlib.sha256()
        length = 0
        with (folder / member.path).open("rb") as source:
            # One byte more than stated is enough to know that the file has changed.
            while chunk := source.read(min(_CHUNK, member.bytes + 1 - length)):
                length += len(chunk)
                found.update(chunk)
                write(chunk)
                advance(written, total)
        if (length, found.hexdigest()) != (member.bytes, member.sha256):
            raise Refusal(
                ProblemKind.DAMAGED_GALLERY,
                f"No snapshot was made: {member.path} of gallery {manifest.gallery!r} is damaged, its bytes are not "
                "those of its SHA-256. `askew doctor` names everything that is damaged, and --repair sets it aside.",
            )
        write(bytes(_padding(length)))
    write(_END)
    return written, digest.hexdigest()


def is_photo(member: str) -> bool:
    """Whether a member is a photo, whose file is named by its SHA-256."""
    return member.startswith(("photos/", "probes/"))


def read_manifest(path: Path) -> SnapshotManifest:
    """The manifest of a snapshot file; its members are not looked at. Raises Refusal (damaged-snapshot)."""
    with _open(path) as stream:
        return _read_manifest(stream, path)


def read_snapshot(path: Path, into: Path | None, advance: Advance) -> SnapshotManifest:
    """Read a whole snapshot and verify every member; `into`: a folder that its files are written to, or None.

    Raises Refusal (damaged-snapshot).
    """
    with _open(path) as stream:
        manifest = _read_manifest(stream, path)
        total = path.stat().st_size
        for member in manifest.members:
            _expect_header(stream, path, member.path, member.bytes)
            digest = hashlib.sha256()
            with _sink(into, member) as sink:
                for chunk in _chunks(stream, path, member):
                    digest.update(chunk)
                    sink.write(chunk)
                    advance(stream.tell(), total)
            if digest.hexdigest() != member.sha256:
                raise _damaged(
                    path,
                    f"{member.path} has SHA-256 {digest.hexdigest()[:12]}…, the manifest states {member.sha256[:12]}…",
                )
            stream.read(_padding(member.bytes))
        if stream.read(len(_END)) != _END:
            raise _damaged(path, "it has no end")
    return manifest


def _read_manifest(stream: BinaryIO, path: Path) -> SnapshotManifest:
    length = _expect_header(stream, path, _MANIFEST, None)
    if length > MAX_MANIFEST_BYTES:
        raise _damaged(path, f"its manifest has {length} bytes, and {MAX_MANIFEST_BYTES} are the most")
    text = stream.read(length)
    stream.read(_padding(length))
    try:
        manifest = SnapshotManifest.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "it"
        if where == "format":
            raise Refusal(
                ProblemKind.DAMAGED_SNAPSHOT,
                f"{path.name} is a snapshot of a format that this Askew does not read; it reads {SNAPSHOT_FORMAT}. "
                "Upgrade Askew.",
            ) from None
        raise _damaged(path, f"its manifest does not hold together: {where}: {first['msg']}") from None
    for member in manifest.members:
        if MEMBER_NAMES.fullmatch(member.path) is None:
            raise _damaged(path, f"no snapshot has a member {member.path[:120]!r}")
        if is_photo(member.path) and Path(member.path).stem != member.sha256:
            raise _damaged(path, f"the photo {member.path} is not named by its SHA-256")
    if all(member.path != DATABASE for member in manifest.members):
        raise _damaged(path, "it holds no database")
    came, expected = path.stat().st_size, _length(length, manifest)
    if came != expected:
        raise _damaged(path, f"expected {expected} bytes by its manifest, got {came}")
    return manifest


def _expect_header(stream: BinaryIO, path: Path, name: str, length: int | None) -> int:
    """Read the next member's header and demand a plain file of this name and length: its length."""
    block = stream.read(_BLOCK)
    try:
        info = tarfile.TarInfo.frombuf(block, "utf-8", "strict")
    except (tarfile.HeaderError, UnicodeDecodeError):
        raise _damaged(path, f"expected the header of {name} at byte {stream.tell() - len(block)}") from None
    if (
        info.type != tarfile.REGTYPE
        or info.name != name
        or info.size < 0
        or (length is not None and info.size != length)
    ):
        raise _damaged(
            path,
            f"expected the plain file {name}{'' if length is None else f' of {length} bytes'} at byte "
            f"{stream.tell() - _BLOCK}, got {info.name[:120]!r} (type {info.type!r}, {info.size} bytes)",
        )
    return info.size


def _chunks(stream: BinaryIO, path: Path, member: SnapshotMember) -> Iterator[bytes]:
    left = member.bytes
    while left:
        chunk = stream.read(min(_CHUNK, left))
        if not chunk:
            raise _damaged(path, f"it ends within {member.path}")
        left -= len(chunk)
        yield chunk


def _sink(into: Path | None, member: SnapshotMember) -> BinaryIO:
    if into is None:
        return Path(os.devnull).open("wb")
    path = into / member.path
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.open("xb")


def _open(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise Refusal(
            ProblemKind.UNKNOWN_SNAPSHOT, f"Expected a snapshot file, but {path} cannot be read: {error.strerror}."
        ) from None


def _header(name: str, length: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size = length
    info.mode = 0o644
    # GNU's form of the header takes lengths of 8 GiB and more in the one block.
    return info.tobuf(tarfile.GNU_FORMAT)


def _padding(length: int) -> int:
    return -length % _BLOCK


def _length(manifest_bytes: int, manifest: SnapshotManifest) -> int:
    """How long the file is by its manifest."""
    lengths = [manifest_bytes, *(member.bytes for member in manifest.members)]
    return sum(_BLOCK + length + _padding(length) for length in lengths) + len(_END)


def _damaged(path: Path, reason: str) -> Refusal:
    return Refusal(
        ProblemKind.DAMAGED_SNAPSHOT,
        f"{path.name} is no whole snapshot: {reason}. Nothing was taken from it; fetch it again, or take an older one.",
    )
