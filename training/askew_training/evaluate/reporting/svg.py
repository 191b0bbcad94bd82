"""Drawing plots as SVG that lies in the page: its colours are the page's, in the light and in the dark.

Coordinates are those of a drawing 400 units wide, so that its letters stay readable on a phone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree import ElementTree

from markupsafe import Markup

from askew_training.evaluate.reporting.wording import readable, short_number

WIDTH, HEIGHT = 400.0, 260.0
LEFT, RIGHT, TOP, BOTTOM = 48.0, 12.0, 14.0, 42.0
"""What stands beside the axes."""
SHAPES = ("circle", "square", "triangle", "diamond", "plus", "cross")
"""Of points; a reader who does not see the colours tells rows apart by these and by their numbers."""


@dataclass(frozen=True)
class Axis:
    """Places values between two ends, on a scale that is linear or logarithmic."""

    low: float
    high: float
    start: float
    end: float
    is_logarithmic: bool = False

    def at(self, value: float) -> float:
        """The coordinate of a value."""
        low, high, value = (math.log10(each) if self.is_logarithmic else each for each in (self.low, self.high, value))
        return self.start + (value - low) / (high - low) * (self.end - self.start)

    def ticks(self) -> list[float]:
        """Round values within the axis, about five."""
        if self.is_logarithmic:
            powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            steps = (1, 2, 5) if self.high / self.low < 200 else (1,)
            found = [step * 10.0**power for power in powers for step in steps]
        else:
            step = _round_step((self.high - self.low) / 4)
            found = [
                step * each
                for each in range(math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9) + 1)
            ]
        # An end may be missed by what floating point loses.
        slack = 1e-9 * (self.low if self.is_logarithmic else self.high - self.low)
        return [each for each in found if self.low - slack <= each <= self.high + slack]


class Drawing:
    """A plot with its title and description, which screen readers read."""

    def __init__(self, title: str, description: str, height: float = HEIGHT) -> None:
        view = f"0 0 {WIDTH:g} {height:g}"
        self.root = ElementTree.Element("svg", {"viewBox": view, "role": "img", "class": "plot"})
        for tag, text in (("title", title), ("desc", description)):
            ElementTree.SubElement(self.root, tag).text = readable(text)

    def add(self, tag: str, kind: str, **attributes: float | str) -> ElementTree.Element:
        """Add an element of the class `kind`; an underscore in a name stands for a hyphen."""
        written = {
            name.replace("_", "-"): f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
            for name, value in attributes.items()
        }
        return ElementTree.SubElement(self.root, tag, {"class": kind, **written})

    def text(self, x: float, y: float, text: str, kind: str = "", anchor: str = "middle", turned: bool = False) -> None:
        """Write a text. `anchor`: which part of it stands at the point."""
        turn = {"transform": f"rotate(-90 {x:g} {y:g})"} if turned else {}
        self.add("text", f"text {kind}".strip(), x=x, y=y, text_anchor=anchor, **turn).text = readable(text)

    def point(self, x: float, y: float, shape: str, kind: str) -> None:
        """Draw a point, about 10 units wide."""
        r = 5.0
        match shape:
            case "circle":
                self.add("circle", kind, cx=x, cy=y, r=r)
            case "square":
                self.add("rect", kind, x=x - r + 0.5, y=y - r + 0.5, width=2 * r - 1, height=2 * r - 1)
            case "triangle":
                self.add(
                    "path", kind, d=path([(x, y - r - 1), (x + r + 0.5, y + r - 1), (x - r - 0.5, y + r - 1)]) + "Z"
                )
            case "diamond":
                self.add("path", kind, d=path([(x, y - r - 1), (x + r + 1, y), (x, y + r + 1), (x - r - 1, y)]) + "Z")
            case "plus":
                self.add("path", f"{kind} open", d=path([(x, y - r), (x, y + r)]) + path([(x - r, y), (x + r, y)]))
            case _:
                e = r - 1
                self.add(
                    "path",
                    f"{kind} open",
                    d=path([(x - e, y - e), (x + e, y + e)]) + path([(x - e, y + e), (x + e, y - e)]),
                )

    def axes(self, across: Axis, up: Axis, names: tuple[str, str], with_marks_up: bool = True) -> None:
        """Draw both axes with their grid, values and names."""
        for value in up.ticks() if with_marks_up else []:
            y = up.at(value)
            self.add("line", "grid", x1=across.start, x2=across.end, y1=y, y2=y)
            self.text(across.start - 6, y + 4, _tick(value), anchor="end")
        for value in across.ticks():
            x = across.at(value)
            self.add("line", "grid", x1=x, x2=x, y1=up.start, y2=up.end)
            self.text(x, up.start + 15, _tick(value))
        self.add("line", "axis", x1=across.start, x2=across.end, y1=up.start, y2=up.start)
        self.text((across.start + across.end) / 2, up.start + 33, names[0], "name")
        self.text(12, (up.start + up.end) / 2, names[1], "name", turned=True)

    def markup(self) -> Markup:
        """The drawing for a template; names in it are escaped."""
        return Markup(ElementTree.tostring(self.root, encoding="unicode"))


def path(points: Sequence[tuple[float, float]]) -> str:
    """A line through points, in the language of a path's `d`."""
    return "M" + "L".join(f"{x:.2f} {y:.2f}" for x, y in points)


def padded(values: Sequence[float], floor: float = -math.inf, ceiling: float = math.inf) -> tuple[float, float]:
    """The ends of a linear axis that shows some values with a margin, kept within a floor and a ceiling."""
    low, high = min(values), max(values)
    margin = 0.08 * (high - low) or 0.05 * abs(high) or 1.0
    return max(floor, low - margin), min(ceiling, high + margin)


def padded_logarithmic(values: Sequence[float]) -> tuple[float, float]:
    """The ends of a logarithmic axis that shows some positive values with a margin."""
    low, high = min(values), max(values)
    margin = (high / low) ** 0.1 if high > low else 2.0
    return low / margin, high * margin


def _round_step(rough: float) -> float:
    power = 10.0 ** math.floor(math.log10(rough))
    return next(step * power for step in (1, 2, 2.5, 5, 10) if step * power >= rough * 0.999)


def _tick(value: float) -> str:
    if abs(value) >= 10_000:
        return f"{value:,.0f}" if abs(value) < 100_000 else f"{value:.0e}".replace("e+0", "e")
    return short_number(value) if abs(value) >= 1000 else f"{value:g}".replace("-", "−")
