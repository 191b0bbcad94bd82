"""What can go wrong in training, below the client's `AskewError`.

    AskewError
    ├── WeightsError       weights that cannot be read, or that do not fit the trunk
    ├── CheckpointError    a file that is no Askew checkpoint, or one that does not hold together
    ├── DataError          photos, manifests or licences that are missing or do not fit
    ├── RecipeError        a recipe with an unknown key, an impossible mix, or a file that is not there
    ├── TrainingError      a run that cannot go on; the last good checkpoint stays
    ├── CacheError         teacher vectors that are incomplete, damaged, or of another teacher or other photos
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


class RecipeError(AskewError):
    """A recipe with an unknown key, an impossible mix, or a file that is not there."""


class TrainingError(AskewError):
    """A run that cannot go on: the loss became NaN, too many photos are damaged, the disk is full."""


class CacheError(AskewError):
    """Teacher vectors that are incomplete, damaged, or of another teacher or other photos."""


class GateError(AskewError):
    """An exported graph that does not do what its network does. Nothing was written."""
