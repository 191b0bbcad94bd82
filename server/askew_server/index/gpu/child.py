"""The process that owns the GPU: `python -m askew_server.index.gpu.child JSON SOCKET MEMORY LOAD LIFE`.

It does what the server asks, one request after another, and ends with the server. It may crash, hang or abort at any
moment: the server expects that. It reads the vectors itself, so that loading them costs the server nothing.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import platform
import resource
import signal
import socket
import sys
import threading
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from askew_server.index.gpu.exchange import LOAD, LONGEST_MESSAGE, Answer, Load, Request, Ring, SharedMemory
from askew_server.index.gpu.loading import load_vectors
from askew_server.index.gpu.parts import Devices

_TRIAL_ROWS = 512


class Failed(Exception):
    """A sentence for the server: what is missing in this environment."""


def main() -> None:
    """Serve one server until it lets go of the connection."""
    config = json.loads(sys.argv[1])
    connection = socket.socket(fileno=int(sys.argv[2]))
    _begin(int(sys.argv[5]))
    memory = SharedMemory(Ring(config["dim"]), int(sys.argv[3]))
    try:
        engine, devices = _open(config)
        hello = {"askew": version("askew-server"), "engine": engine, "python": platform.python_version()}
        connection.send(json.dumps(hello).encode())
    # Whatever is wrong here, the server says it.
    except Exception as error:  # noqa: BLE001
        connection.send(json.dumps({"failure": _sentence(error)}).encode()[:LONGEST_MESSAGE])
        return
    while message := connection.recv(LONGEST_MESSAGE):
        request = Request.unpacked(message)
        try:
            if request.operation == LOAD:
                value = float(load_vectors(Load(int(sys.argv[4])), devices, memory, request.slot, connection))
            else:
                value = _search(request, devices, memory)
            answer = Answer(True, request.number, value)
        # The server decides what a failure means.
        except Exception as error:  # noqa: BLE001
            answer = Answer(False, request.number, 0.0, _sentence(error))
        connection.send(answer.packed())


def _open(config: dict[str, Any]) -> tuple[str, Devices]:
    """The engine in words, and the empty index on the devices, after a trial. Raises Failed, and what the engine raises; may abort the process."""
    engine = importlib.import_module(config["engine"])
    wanted, there = int(config["devices"]), engine.device_count()
    if not there:
        raise Failed("FAISS finds no GPU. Check that nvidia-smi lists one, and that the driver is new enough")
    if there < wanted:
        raise Failed(f"FAISS finds {there} of the {wanted} GPUs that gpu_devices names")
    is_replicated = config["layout"] == "replica"
    _try(Devices(config["dim"], engine.open_device, wanted, is_replicated=True))
    return engine.version(), Devices(config["dim"], engine.open_device, wanted, is_replicated=is_replicated)


def _try(devices: Devices) -> None:
    """Add and search a few vectors on every device: missing kernels abort this process now, not after minutes of loading."""
    dim = devices.dim
    vectors = np.random.default_rng(0).standard_normal((_TRIAL_ROWS, dim), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    devices.add(vectors)
    _, rows = devices.search(np.repeat(vectors[:16], 4, axis=0), 3)
    if not np.array_equal(rows[:, 0], np.repeat(np.arange(16), 4)):
        raise Failed("In a trial of 512 vectors, some are not found as nearest to themselves")


def _search(request: Request, devices: Devices, memory: SharedMemory) -> float:
    """Answer the queries of a slot; the seconds that it took."""
    began = time.perf_counter()
    scores, rows = memory.answer(request.slot, request.queries, request.nearest)
    scores[:], rows[:] = devices.search(memory.vectors(request.slot, request.queries), request.nearest)
    return time.perf_counter() - began


def _sentence(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[-1] if text else type(error).__name__


def _begin(life: int) -> None:
    # Ctrl-C reaches the whole process group; the server decides when this process ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # A dump of all that it holds would take minutes, and the server would not see its end before.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    threading.Thread(target=_end_with_server, args=(life,), daemon=True).start()
    # Where the whole system runs out of memory, it ends this process and not the server.
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("800")


def _end_with_server(life: int) -> None:
    """End this process, whatever it does, once the server has ended: then this read ends, too."""
    os.read(life, 1)
    os._exit(1)


if __name__ == "__main__":
    main()
