"""What encoders and rows are called in tables: short, and never alike for two."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from askew_training.evaluate.measurement import Side

Settings = Mapping[str, str | float | bool]
_DIGITS = 8


def encoder_labels(sides: Sequence[Side]) -> list[str]:
    """`name@version`, followed by the first digits of the file's digest where several files have that name."""
    times = Counter(side.encoder for side in sides)
    return [side.encoder if times[side.encoder] == 1 else f"{side.encoder} ({side.sha256[:_DIGITS]})" for side in sides]


def row_label(queries: str, gallery: str, settings: Settings) -> str:
    """`queries → gallery`, followed by the settings in brackets if there are any."""
    pair = f"{queries} → {gallery}"
    return f"{pair} [{settings_text(settings)}]" if settings else pair


def settings_text(settings: Settings) -> str:
    """Settings for a person: `alpha 3, no crop`."""
    return ", ".join(_setting(name.replace("_", " "), value) for name, value in settings.items())


def _setting(name: str, value: str | float | bool) -> str:
    if isinstance(value, bool):
        return name if value else f"no {name}"
    return f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}"
