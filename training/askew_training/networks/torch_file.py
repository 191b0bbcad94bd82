"""Reading files of tensors."""

from __future__ import annotations

import pickle

DAMAGED = (
    pickle.UnpicklingError,
    RuntimeError,
    EOFError,
    ValueError,
    KeyError,
    TypeError,
    IndexError,
    AttributeError,
)
"""What `torch.load`, and picking parts out of its result, raise for a damaged file or a file of another kind."""
