"""Imports that the libraries below put off until a first request.

A process may be forked while one of its threads sends its first request. If that thread was importing a module then, the
child would wait for the module for ever, because nobody is there to give its lock back. So a client imports all when it is
made.
"""

from __future__ import annotations

import contextlib
from importlib import import_module

from askew_client.forks import undivided

_FOR_BOTH = ("httpcore", "h11")


def import_for_requests(backend: tuple[str, ...]) -> None:
    """Import what requests need; `backend`: the modules of the event loop's sockets.

    What a library does not have any more is left out: then a first request imports what came in its place.
    """
    with undivided():
        for name in (*_FOR_BOTH, *backend):
            with contextlib.suppress(ImportError):
                import_module(name)
