"""The snapshot file: an uncompressed tar that any tar program unpacks.

    manifest.json                what the gallery was; length and SHA-256 of every member that follows, in order
    gallery.db                   the database, one file
    photos/ab/ab….jpg, probes/….jpg, encoders/….onnx

A snapshot may come from anyone, so it is not read with `tarfile.open`, which follows extension headers before its caller
can look at them: one header with a long name makes it read gigabytes into memory. Here each member must be a plain file
with one of the names above and the length that the manifest states, or the file is refused. The manifest is bounded and
comes first, nothing is compressed, and the lengths in the manifest must add up to the length of the file. So nothing can
grow while it is unpacked.
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
from askew_server.storage.photos import is_photo_name, photo_member, photo_sha256

Advance = Callable[[int, int], None]
"""advance(done, total) in bytes; it may raise, to stop the work."""

DATABASE = "gallery.db"
MAX_MANIFEST_BYTES = 256 * 1024 * 1024

_MANIFEST = "manifest.json"
_ENCODER = re.compile(r"encoders/[0-9a-f]{64}\.onnx")
_BLOCK = tarfile.BLOCKSIZE
_CHUNK = 1024 * 1024
_END = bytes(2 * _BLOCK)


def is_member_name(path: str) -> bool:
    """Whether a snapshot can have a member of this path."""
    folder, _, name = path.rpartition("/")
    if is_photo_name(name):
        return folder == "probes" or path == photo_member(name)
    return path == DATABASE or _ENCODER.fullmatch(path) is not None


def is_photo(member: str) -> bool:
    """Whether a member is a photo, whose file is named by its SHA-256."""
    return member.startswith(("photos/", "probes/"))


def write_snapshot(folder: Path, manifest: SnapshotManifest, stream: BinaryIO, advance: Advance) -> tuple[int, str]:
    """Write the members of `manifest`, files under `folder`, as a snapshot; returns its length and SHA-256.

    Raises Refusal (damaged-gallery) where a file does not have the bytes that the manifest states.
    """
    digest = hashlib.sha256()
    written = 0

    def write(content: bytes) -> None:
        nonlocal written
        stream.write(content)
        digest.update(content)
        written += len(content)

    text = manifest.model_dump_json().encode()
    total = _archive_length(len(text), manifest)
    write(_header(_MANIFEST, len(text)) + text + bytes(_padding(len(text))))
    for member in manifest.members:
        write(_header(member.path, member.bytes))
        member_digest = hashlib.sha256()
        length = 0
        with (folder / member.path).open("rb") as source:
            # One byte more than stated is enough to know that the file has changed.
            while chunk := source.read(min(_CHUNK, member.bytes + 1 - length)):
                length += len(chunk)
                member_digest.update(chunk)
                write(chunk)
                advance(written, total)
        if (length, member_digest.hexdigest()) != (member.bytes, member.sha256):
            raise Refusal(
                ProblemKind.DAMAGED_GALLERY,
                f"No snapshot was made: {member.path} of gallery {manifest.gallery!r} is damaged, its bytes do not have the "
                "expected SHA-256. Run `askew doctor` to see everything that is damaged; --repair sets it aside.",
            )
        write(bytes(_padding(length)))
    write(_END)
    return written, digest.hexdigest()


def read_manifest(path: Path) -> SnapshotManifest:
    """Read the manifest of a snapshot file, without its members. Raises Refusal (unknown-snapshot, damaged-snapshot)."""
    with _open(path) as stream:
        return _read_manifest(stream, path)


def read_snapshot(path: Path, into: Path | None, advance: Advance) -> SnapshotManifest:
    """Read a complete snapshot and verify every member. `into`: a folder to write its files to; None: only verify.

    Raises Refusal (unknown-snapshot, damaged-snapshot).
    """
    with _open(path) as stream:
        manifest = _read_manifest(stream, path)
        total = path.stat().st_size
        for member in manifest.members:
            _read_header(stream, path, member.path, member.bytes)
            digest = hashlib.sha256()
            with _open_target(into, member) as target:
                for chunk in _chunks(stream, path, member):
                    digest.update(chunk)
                    target.write(chunk)
                    advance(stream.tell(), total)
            if digest.hexdigest() != member.sha256:
                raise _damaged(
                    path,
                    f"{member.path} has SHA-256 {digest.hexdigest()[:12]}…, the manifest states {member.sha256[:12]}…",
                )
            stream.read(_padding(member.bytes))
        if stream.read(len(_END)) != _END:
            raise _damaged(path, "its end is missing")
    return manifest


def _read_manifest(stream: BinaryIO, path: Path) -> SnapshotManifest:
    length = _read_header(stream, path, _MANIFEST, None)
    if length > MAX_MANIFEST_BYTES:
        raise _damaged(path, f"its manifest has {length} bytes, more than {MAX_MANIFEST_BYTES}")
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
                f"{path.name} is a snapshot in a format that this Askew does not read; it reads format {SNAPSHOT_FORMAT}. "
                "Upgrade Askew.",
            ) from None
        raise _damaged(path, f"its manifest is inconsistent: {where}: {first['msg']}") from None
    for member in manifest.members:
        if not is_member_name(member.path):
            raise _damaged(path, f"a snapshot cannot have a member {member.path[:120]!r}")
        if is_photo(member.path) and photo_sha256(member.path) != member.sha256:
            raise _damaged(path, f"the photo {member.path} is not named by its SHA-256")
    if all(member.path != DATABASE for member in manifest.members):
        raise _damaged(path, "it contains no database")
    size, expected = path.stat().st_size, _archive_length(length, manifest)
    if size != expected:
        raise _damaged(path, f"expected {expected} bytes by its manifest, got {size}")
    return manifest


def _read_header(stream: BinaryIO, path: Path, name: str, length: int | None) -> int:
    """Read the next member's header, which must be that of a plain file of this name and length; returns the length."""
    position = stream.tell()
    try:
        info = tarfile.TarInfo.frombuf(stream.read(_BLOCK), "utf-8", "strict")
    except (tarfile.HeaderError, UnicodeDecodeError):
        raise _damaged(path, f"expected the header of {name} at byte {position}") from None
    is_expected = info.type == tarfile.REGTYPE and info.name == name and info.size >= 0
    if not is_expected or (length is not None and info.size != length):
        of_length = "" if length is None else f" of {length} bytes"
        raise _damaged(
            path,
            f"expected the plain file {name}{of_length} at byte {position}, got {info.name[:120]!r} (type {info.type!r}, "
            f"{info.size} bytes)",
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


def _open_target(into: Path | None, member: SnapshotMember) -> BinaryIO:
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
            ProblemKind.UNKNOWN_SNAPSHOT,
            f"Expected a snapshot file, but {path} cannot be read: {error.strerror}. Check the path.",
        ) from None


def _header(name: str, length: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size = length
    info.mode = 0o644
    # GNU's form of the header states lengths of 8 GiB and more in the one block.
    return info.tobuf(tarfile.GNU_FORMAT)


def _padding(length: int) -> int:
    return -length % _BLOCK


def _archive_length(manifest_bytes: int, manifest: SnapshotManifest) -> int:
    """The length of the file, by its manifest."""
    lengths = [manifest_bytes, *(member.bytes for member in manifest.members)]
    return sum(_BLOCK + length + _padding(length) for length in lengths) + len(_END)


def _damaged(path: Path, reason: str) -> Refusal:
    return Refusal(
        ProblemKind.DAMAGED_SNAPSHOT,
        f"{path.name} is not a complete snapshot: {reason}. Nothing was restored from it; download it again, or take an "
        "older one.",
    )
