"""Cards, kernels and memory, as `nvidia-smi` and the library of FAISS state them; both are imitated here."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest

from askew_server.errors import Refusal
from askew_server.index.gpu.availability import NO_GPU, why_not
from askew_server.index.gpu.cards import read_cards, refuse_too_large_for_cards
from askew_server.index.gpu.kernels import find_builds
from askew_server.index.gpu.options import GpuOptions

H200 = "0, NVIDIA H200, 9.0, 143771, 143000, 570.86.15\n1, NVIDIA L4, 8.9, 23034, 22000, 570.86.15"


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of programs, before all others."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return folder


def put_program(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def put_cards(machine: Path, listed: str = H200) -> None:
    put_program(machine / "nvidia-smi", f'echo "{listed}"')


def write_library(path: Path, kernels: list[tuple[int, int]]) -> None:
    """A 64-bit ELF file with a section .nv_fatbin, one container for each kind (1: PTX, 2: machine code) and architecture."""
    containers = b""
    for kind, architecture in kernels:
        entry = struct.pack("<HHIQ", kind, 0x101, 64, 16) + bytes(12) + struct.pack("<I", architecture)
        entry = entry.ljust(64, b"\0") + bytes(16)
        containers += struct.pack("<IHHQ", 0xBA55ED50, 1, 16, len(entry)) + entry
    names = b"\0.nv_fatbin\0.shstrtab\0"
    start = 64
    sections = [(0, 0, 0), (1, start, len(containers)), (12, start + len(containers), len(names))]
    headers_at = start + len(containers) + len(names)
    header = b"\x7fELF\x02\x01\x01".ljust(16, b"\0") + struct.pack(
        "<HHIQQQIHHHHHH", 3, 62, 1, 0, 0, headers_at, 0, 64, 0, 0, 64, 3, 2
    )
    table = b"".join(struct.pack("<IIQQQQIIQQ", name, 1, 0, 0, at, size, 0, 0, 8, 0) for name, at, size in sections)
    path.write_bytes(header + containers + names + table)


def environment_with(machine: Path, kernels: list[tuple[int, int]]) -> GpuOptions:
    """Options that name an interpreter whose environment has one GPU build with these kernels."""
    write_library(machine / "libfaiss.so", kernels)
    put_program(machine / "python", f"""echo '{{"faiss-gpu": ["1.15.1", "{machine / "libfaiss.so"}"]}}'""")
    return GpuOptions(python=machine / "python")


def test_cards_are_read_as_nvidia_smi_lists_them(machine: Path) -> None:
    put_cards(machine)
    card, other = read_cards()
    assert (card.index, card.name, card.architecture, card.bytes_free) == ("0", "NVIDIA H200", 90, 143_000 << 20)
    assert "sm_89" in str(other)
    for nothing in ("exit 9", "echo 'No devices were found'"):
        put_program(machine / "nvidia-smi", nothing)
        assert read_cards() == []


@pytest.mark.parametrize(
    ("kernels", "fault"),
    [
        ([(2, 80), (2, 90)], None),
        ([(1, 80)], None),
        ([(2, 70), (2, 80), (2, 86)], "has no kernels for sm_90"),
        ([], None),
    ],
    ids=["machine code", "PTX", "older cards only", "unknown"],
)
def test_kernels_are_compared_with_the_card(machine: Path, kernels: list[tuple[int, int]], fault: str | None) -> None:
    put_cards(machine)
    options = environment_with(machine, kernels)
    (build,) = find_builds(options)
    assert sorted(build.machine_code) == sorted(architecture for kind, architecture in kernels if kind == 2)
    reason = why_not(options)
    assert reason is None if fault is None else (reason is not None and fault in reason and "NVIDIA H200" in reason)


def test_what_is_missing_is_told(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if why_not(GpuOptions()) != NO_GPU:
        pytest.skip("there is a GPU")
    put_cards(machine)
    assert "No FAISS with GPU support is installed in the server's environment" in (why_not(GpuOptions()) or "")
    assert "names no interpreter" in (why_not(GpuOptions(python=machine / "none")) or "")
    options = environment_with(machine, [(2, 90)])
    absent = GpuOptions(python=options.python, devices=("0", "7"))
    assert why_not(absent) == "The setting gpu_devices names GPU 7; there are 0, 1."
    two = '{"faiss-gpu": ["1.15.1", ""], "faiss-gpu-cuvs": ["1.15.1", ""]}'
    put_program(machine / "python", f"echo '{two}'")
    assert "faiss-gpu and faiss-gpu-cuvs are both installed" in (why_not(options) or "").replace(" 1.15.1", "")


def test_vectors_that_do_not_fit_are_refused_with_numbers(machine: Path) -> None:
    put_cards(machine)
    refuse_too_large_for_cards(1_000_000, 2_048, GpuOptions(devices=("0", "1")))
    with pytest.raises(
        Refusal, match=r"10,000,000 vectors of 2048 components .* 46\.5 GB .* NVIDIA L4, sm_89, 23\.1 of"
    ) as it:
        refuse_too_large_for_cards(10_000_000, 2_048, GpuOptions(devices=("0", "1"), layout="replica"))
    assert it.value.kind.slug == "would-not-fit"
    assert it.value.extras["free_bytes"] == 22_000 << 20
    refuse_too_large_for_cards(10_000_000, 2_048, GpuOptions(devices=("0",)))
