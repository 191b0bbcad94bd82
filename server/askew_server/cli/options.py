"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from askew_client.errors import AskewError

if TYPE_CHECKING:
    from askew_client.contract.filters.conditions import Filter

# Their environment variables are read by target.py: an option wins over the variable of the other one.
Data = Annotated[
    Path | None, typer.Option(help="The DATA directory; no server may be using it. Without it: $ASKEW_DATA.")
]
Server = Annotated[
    str | None, typer.Option(help="The URL of a running server, instead of --data. Without it: $ASKEW_SERVER.")
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before deleting.")]
Key = Annotated[str | None, typer.Option("--key", envvar="ASKEW_KEY", help="With --server: an API key.")]
WriteKey = Annotated[
    str | None, typer.Option("--key", envvar="ASKEW_KEY", help="With --server: a key with the scope write.")
]
AdminKey = Annotated[
    str | None, typer.Option("--key", envvar="ASKEW_KEY", help="With --server: a key with the scope admin.")
]
GalleryOption = Annotated[str, typer.Option(help="The gallery's name.")]
GalleryArgument = Annotated[str, typer.Argument(metavar="GALLERY", help="The gallery's name.")]
AliasArgument = Annotated[str, typer.Argument(metavar="ALIAS", help="The alias.")]
PhotoFolder = Annotated[Path, typer.Argument(help="A folder of JPEG, PNG, WebP, HEIC and AVIF photos.")]
FilterOption = Annotated[
    str | None,
    typer.Option("--filter", help='Only items that meet a condition, such as {"field": "kind", "eq": "landmark"}.'),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


def check_name(name: str) -> str:
    """Check the name of a gallery or an alias, and return it. Raises AskewError."""
    from pydantic import TypeAdapter, ValidationError

    from askew_client.contract.common import GalleryName
    from askew_client.wording import describe_error

    try:
        return TypeAdapter(GalleryName).validate_python(name)
    except ValidationError as error:
        raise AskewError(describe_error(error)) from None


def parse_filter(text: str) -> Filter:
    """The condition that `--filter` gives as JSON. Raises AskewError."""
    from pydantic import TypeAdapter, ValidationError

    from askew_client.contract.filters.conditions import Filter
    from askew_client.wording import describe_error

    adapter: TypeAdapter[Filter] = TypeAdapter(Filter)
    try:
        return adapter.validate_json(text)
    except ValidationError as error:
        reason = describe_error(error).rstrip(".")
        raise AskewError(f"Expected --filter as a condition in JSON, got {text[:200]!r}. {reason}.") from None
