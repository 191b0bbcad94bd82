"""Draw the icons of the installed app from app/icon.svg, with Chromium.

    python client/web/icons.py

Writes app/icons/*.png, which are committed: a build needs no browser. `maskable`: on some phones the system cuts the icon
to its own shape, so the picture fills the whole square and keeps what matters within the middle 80 %.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

APP = Path(__file__).parent / "app"
GROUND = "#0f766e"
SIZES = {"icon-192": 192, "icon-512": 512, "maskable-192": 192, "maskable-512": 512, "apple-180": 180}


def main() -> None:
    """Run it from a command line."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        sys.exit("Expected Chromium to draw the icons. Install it (Debian: apt-get install chromium).")
    picture = (APP / "icon.svg").read_text()
    (APP / "icons").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        for name, size in SIZES.items():
            page = Path(temporary) / f"{name}.html"
            page.write_text(_page(picture, size, fills=not name.startswith("icon")))
            drawn = Path(temporary) / f"{name}.png"
            flags = ["--headless=new", "--no-sandbox", "--hide-scrollbars", "--default-background-color=00000000"]
            # Chromium's window may not be as small as an icon.
            options = [*flags, "--window-size=800,800", f"--screenshot={drawn}", page.as_uri()]
            subprocess.run([chromium, *options], check=True, capture_output=True)
            with Image.open(drawn) as screenshot:
                icon = screenshot.convert("RGBA").crop((0, 0, size, size))
            # iOS shows transparent pixels black.
            icon = icon if name.startswith("icon") else icon.convert("RGB")
            icon.quantize(64).save(APP / "icons" / f"{name}.png", optimize=True)


def _page(picture: str, size: int, *, fills: bool) -> str:
    inner = round(size * 0.8) if fills else size
    margin = (size - inner) // 2
    ground = GROUND if fills else "transparent"
    svg = picture.replace("<svg ", f'<svg width="{inner}" height="{inner}" style="margin: {margin}px" ', 1)
    square = f"width: {size}px; height: {size}px; overflow: hidden; background: {ground}"
    return f'<!doctype html><body style="margin: 0"><div style="{square}">{svg}</div>'


if __name__ == "__main__":
    main()
