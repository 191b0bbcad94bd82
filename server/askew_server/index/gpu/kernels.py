"""Which GPU builds of FAISS an environment has, and for which cards they hold kernels; nothing is loaded or run.

The machine code of CUDA kernels lies in the section .nv_fatbin of libfaiss.so, in containers that name its
architecture (see NVIDIA's `cuobjdump --list-elf`). PTX, which a driver can compile for newer cards, is named likewise.
"""

from __future__ import annotations

import json
import mmap
import struct
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from askew_client.encoding.engines import FAISS_GPU_BUILDS
from askew_server.index.gpu.options import GpuOptions

_SECTION = b".nv_fatbin\0"
_CONTAINER = struct.Struct("<IHHQ")
_ENTRY = struct.Struct("<HHIQ")
_MAGIC = 0xBA55ED50
_PTX, _MACHINE_CODE = 1, 2
_ARCHITECTURE_AT = 28
_SECONDS = 60.0
_FIND = """
import json, sys
from importlib import metadata
found = {}
for name in sys.argv[1:]:
    try:
        each = metadata.distribution(name)
        found[name] = [each.version, str(each.locate_file("faiss/libfaiss.so"))]
    except metadata.PackageNotFoundError:
        pass
print(json.dumps(found))
"""


@dataclass(frozen=True)
class Build:
    """An installed GPU build of FAISS. `machine_code`, `ptx`: the architectures that it has kernels for, such as 90."""

    name: str
    version: str
    machine_code: frozenset[int] = frozenset()
    ptx: frozenset[int] = frozenset()

    def fault_with(self, architecture: int) -> str | None:
        """Why it cannot be used with a card of this architecture; None if it can, or if its kernels are not known."""
        same_major = [each for each in self.machine_code if each // 10 == architecture // 10 and each <= architecture]
        if same_major or any(each <= architecture for each in self.ptx) or not self.machine_code | self.ptx:
            return None
        return f"{self} has no kernels for sm_{architecture}. Install another build (docs/gpu.md)."

    def __str__(self) -> str:
        known = [f"sm_{each}" for each in sorted(self.machine_code)] + [f"PTX {each}" for each in sorted(self.ptx)]
        return f"{self.name} {self.version}" + (f" ({', '.join(known)})" if known else "")


def find_builds(options: GpuOptions) -> list[Build]:
    """The GPU builds in the environment that the child process uses. Raises OSError if its interpreter cannot be run."""
    if options.python is None:
        found = {}
        for name in FAISS_GPU_BUILDS:
            try:
                each = metadata.distribution(name)
            except metadata.PackageNotFoundError:
                continue
            found[name] = (each.version, str(each.locate_file("faiss/libfaiss.so")))
    else:
        try:
            command = [str(options.python), "-c", _FIND, *FAISS_GPU_BUILDS]
            said = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=True).stdout
            found = {name: (version, path) for name, (version, path) in json.loads(said).items()}
        except (subprocess.SubprocessError, ValueError) as error:
            raise OSError(f"{options.python} cannot be run: {error}") from None
    return [Build(name, version, *_architectures(Path(path))) for name, (version, path) in sorted(found.items())]


def _architectures(library: Path) -> tuple[frozenset[int], frozenset[int]]:
    """The architectures of a library's machine code and PTX; none if it cannot be read."""
    kinds: dict[int, set[int]] = {_MACHINE_CODE: set(), _PTX: set()}
    try:
        with library.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as binary:
            for kind, architecture in _entries(binary):
                kinds.setdefault(kind, set()).add(architecture)
    # Another library format, or another form of the containers: then nothing is known.
    except (OSError, ValueError, struct.error):
        return frozenset(), frozenset()
    return frozenset(kinds[_MACHINE_CODE]), frozenset(kinds[_PTX])


def _entries(binary: mmap.mmap) -> Iterator[tuple[int, int]]:
    """Kind and architecture of each entry of each container."""
    position, end = _section(binary)
    while position + _CONTAINER.size <= end:
        magic, _, header_bytes, content_bytes = _CONTAINER.unpack_from(binary, position)
        if magic != _MAGIC:
            # Containers are aligned to 8 bytes.
            position += 8
            continue
        entry, position = position + header_bytes, position + header_bytes + content_bytes
        while entry < position:
            kind, _, entry_header, entry_bytes = _ENTRY.unpack_from(binary, entry)
            yield kind, struct.unpack_from("<I", binary, entry + _ARCHITECTURE_AT)[0]
            entry += entry_header + entry_bytes


def _section(binary: mmap.mmap) -> tuple[int, int]:
    """Where the section begins and ends in a 64-bit ELF file; an empty range if it has none."""
    if binary[:5] != b"\x7fELF\x02":
        return 0, 0
    (headers_at,) = struct.unpack_from("<Q", binary, 40)
    size, count, names_header = struct.unpack_from("<HHH", binary, 58)
    sections = [struct.unpack_from("<IIQQQQ", binary, headers_at + number * size) for number in range(count)]
    names_at = sections[names_header][4]
    for name, _, _, _, start, length in sections:
        if binary[names_at + name : names_at + name + len(_SECTION)] == _SECTION:
            return start, start + length
    return 0, 0
