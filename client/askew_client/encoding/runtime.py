"""ONNX Runtime, loaded and opened in one place: it reports nothing to its maker, and a forked child leaves its parent's sessions alone."""

from __future__ import annotations

import ctypes
import functools
import os
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from askew_client.encoding.engines import not_importable
from askew_client.forks import undivided

if TYPE_CHECKING:
    from onnxruntime import InferenceSession as Session
    from onnxruntime import SessionOptions

__all__ = ["ENGINE_HINT", "Session", "load_onnxruntime", "open_session"]

ENGINE_HINT = "Install one: pip install onnxruntime (or onnxruntime-gpu, for an NVIDIA GPU)."
ON_CPU = ("CPUExecutionProvider",)


def load_onnxruntime() -> ModuleType:
    """Import ONNX Runtime with its telemetry off. Raises EngineMissing.

    Its wheels send events to Microsoft by default, and keep an identifier of the device in ~/.cache. Only this variable, set
    before the first import, prevents both. Where it is set already, somebody has decided.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        with undivided():
            import onnxruntime
    except ImportError as error:
        absent = "No onnxruntime is installed; encoders need one to run."
        raise not_importable(error, "onnxruntime", absent, ENGINE_HINT) from None
    module: ModuleType = onnxruntime
    return module


def open_session(
    model: Path | bytes,
    options: SessionOptions | None = None,
    providers: Sequence[str | tuple[str, Mapping[str, str]]] = ON_CPU,
) -> Session:
    """Open an ONNX file, or its bytes. Raises EngineMissing, and whatever ONNX Runtime raises for the model.

    A session ends threads when it is collected, and a process that was forked has none of its parent's: it would hang, or be
    aborted, at its next collection or at its end. So what a child inherits is never collected there. It must open its own.
    """
    runtime = load_onnxruntime()
    source = str(model) if isinstance(model, Path) else model
    with undivided():
        session: Session = runtime.InferenceSession(source, options, providers=list(providers))
        _sessions().add(session)
    return session


@functools.cache
def _sessions() -> weakref.WeakSet[Session]:
    """The sessions of this process, from the first one on."""
    sessions: weakref.WeakSet[Session] = weakref.WeakSet()
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=functools.partial(_leave_to_parent, sessions))
    return sessions


def _leave_to_parent(sessions: weakref.WeakSet[Session]) -> None:
    for session in sessions:
        # A reference that nothing gives back: also the end of the interpreter, which clears all modules, leaves it alone.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(session))
    sessions.clear()
