"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from askew_client.errors import AskewError

Data = Annotated[Path | None, typer.Option(help="The DATA directory; no server may be using it.")]
Server = Annotated[str | None, typer.Option(help="The URL of a running server, instead of --data.")]
Key = Annotated[str | None, typer.Option("--key", envvar="ASKEW_KEY", help="With --server: an API key.")]
GalleryOption = Annotated[str, typer.Option(help="The gallery's name.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


def required_data(data: Path | None) -> Path:
    """DATA, where no server was named. Raises AskewError when neither was."""
    if data is None:
        raise AskewError("Say where the gallery is: --data DIR (no server running on it), or --server URL.")
    return data


def checked_gallery_name(name: str) -> str:
    """A gallery's name, if it can be one. Raises AskewError."""
    from pydantic import TypeAdapter, ValidationError

    from askew_client.contract.common import GalleryName

    try:
        return TypeAdapter(GalleryName).validate_python(name)
    except ValidationError:
        raise AskewError(
            f"Expected a gallery name of lower-case letters, digits, - and _, at most 63, got {name[:80]!r}."
        ) from None
