"""`askew serve`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from askew_client.errors import AskewError


def serve(
    data: Annotated[Path | None, typer.Option(help="The DATA directory. [ASKEW_DATA; askew-data]")] = None,
    host: Annotated[str | None, typer.Option(help="The address to listen on. [ASKEW_HOST; 127.0.0.1]")] = None,
    port: Annotated[int | None, typer.Option(help="The port to listen on. [ASKEW_PORT; 8000]")] = None,
    gallery: Annotated[
        str | None, typer.Option(help="The gallery of POST /search. [ASKEW_DEFAULT_GALLERY; default]")
    ] = None,
    photo_search: Annotated[
        bool | None, typer.Option("--photo-search", help="Describe query photos too. [ASKEW_PHOTO_SEARCH]")
    ] = None,
    allow_missing_space: Annotated[
        bool | None,
        typer.Option("--allow-missing-space", help="Answer queries that name no space. [ASKEW_ALLOW_MISSING_SPACE]"),
    ] = None,
    listen_publicly: Annotated[
        bool | None,
        typer.Option("--listen-publicly", help="Listen beyond loopback without keys. [ASKEW_LISTEN_PUBLICLY]"),
    ] = None,
    tls_certificate: Annotated[
        Path | None, typer.Option(help="Speak TLS with this certificate (PEM, with its chain). [ASKEW_TLS_CERTIFICATE]")
    ] = None,
    tls_key: Annotated[Path | None, typer.Option(help="The certificate's private key (PEM). [ASKEW_TLS_KEY]")] = None,
) -> None:
    """Serve the galleries of a DATA directory over HTTP, with a page at /."""
    from pydantic import ValidationError

    from askew_server.http.server import run_server
    from askew_server.settings import Settings

    given = {
        "data": data,
        "host": host,
        "port": port,
        "default_gallery": gallery,
        "photo_search": photo_search,
        "allow_missing_space": allow_missing_space,
        "listen_publicly": listen_publicly,
        "tls_certificate": tls_certificate,
        "tls_key": tls_key,
    }
    try:
        settings = Settings.model_validate(
            Settings().model_dump() | {name: value for name, value in given.items() if value is not None}
        )
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise AskewError(
            f"Setting {'.'.join(map(str, first['loc']))}: {first['msg']}, got {first['input']!r}."
        ) from None
    run_server(settings)
