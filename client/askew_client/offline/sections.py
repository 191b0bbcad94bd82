"""The bytes of a pack, mapped from its file and compared with the digests in its header."""

from __future__ import annotations

import hashlib
import mmap
from dataclasses import dataclass
from pathlib import Path

from askew_client.contract.errors import DamagedPack
from askew_client.contract.offline_pack import PACK_HEAD_BYTES, PackHeader, SectionName
from askew_client.offline.layout import pack_size, read_head


@dataclass(frozen=True)
class PackBytes:
    """A whole pack. `name`: what to call it in messages."""

    name: str
    header: PackHeader
    content: memoryview

    def section(self, name: SectionName) -> memoryview:
        """The bytes of a section."""
        section = self.header.section(name)
        return self.content[section.offset : section.offset + section.size]


def open_pack(path: Path) -> PackBytes:
    """Map a pack into memory and verify it. Raises DamagedPack; OSError if it cannot be opened."""
    with path.open("rb") as stream:
        # An empty file cannot be mapped.
        content = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) if path.stat().st_size else b""
    return verify_pack(memoryview(content), str(path))


def verify_pack(content: memoryview, name: str) -> PackBytes:
    """Check the header, the length and every digest of a whole pack. Raises DamagedPack."""
    header, _ = read_head(bytes(content[:PACK_HEAD_BYTES]), name)
    expected = pack_size(header)
    if len(content) != expected:
        fault = "is cut" if len(content) < expected else "has bytes behind its end"
        raise DamagedPack(f"{name} {fault}: expected {expected} bytes, got {len(content)}. Fetch it again.")
    found = PackBytes(name, header, content)
    for section in header.sections:
        if hashlib.sha256(found.section(section.name)).hexdigest() != section.sha256:
            raise DamagedPack(f"{name} is damaged: its section {section.name} has another digest. Fetch it again.")
    return found
