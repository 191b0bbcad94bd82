"""What can go wrong in training, below the client's `AskewError`.

    AskewError
    ├── WeightsError       weights that cannot be read or do not fit the trunk
    ├── CheckpointError    a file that is not an Askew checkpoint, or is inconsistent
    ├── DataError          photos, manifests or licences that are missing or do not fit
    ├── RecipeError        a recipe with an unknown key, an impossible combination or a missing file
    ├── TrainingError      a run that cannot continue; the last good checkpoint is kept
    ├── CacheError         teacher vectors that are incomplete, damaged, or of another teacher or other photos
    └── GateError          an exported graph that differs from its network: nothing was written

Each message is one or two sentences for a person: what was expected, what came, what to do.
"""

from __future__ import annotations

from askew_client.errors import AskewError


class WeightsError(AskewError):
    """Weights that cannot be read or do not fit the trunk."""


class CheckpointError(AskewError):
    """A file that is not an Askew checkpoint, or is inconsistent."""


class DataError(AskewError):
    """Photos, manifests or licences that are missing or do not fit."""


class RecipeError(AskewError):
    """A recipe with an unknown key, an impossible combination or a missing file."""


class TrainingError(AskewError):
    """A run that cannot continue: the loss became NaN, too many photos are damaged, or the disk is full."""


class CacheError(AskewError):
    """Teacher vectors that are incomplete, damaged, or of another teacher or other photos."""


class GateError(AskewError):
    """An exported graph that differs from its network. Nothing was written."""
