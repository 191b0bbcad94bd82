"""What can go wrong in training, below the client's `AskewError`.

    AskewError
    ├── WeightsError       weights that cannot be read, or that do not fit the trunk
    ├── CheckpointError    a file that is no Askew checkpoint, or one that does not hold together
    ├── DataError          photos, manifests or licences that are missing or do not fit
    └── GateError          an exported graph that does not do what its network does: nothing was written

The text of each is one sentence or two for a person: what was expected, what came, what to do.
"""

from __future__ import annotations

from askew_client.errors import AskewError


class WeightsError(AskewError):
    """Weights that cannot be read, or that do not fit the trunk."""


class CheckpointError(AskewError):
    """A file that is no Askew checkpoint, or one that does not hold together."""


class DataError(AskewError):
    """Photos, manifests or licences that are missing or do not fit."""


class GateError(AskewError):
    """An exported graph that does not do what its network does. Nothing was written."""
