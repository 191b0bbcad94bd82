"""The OpenAPI document as it is committed: `python -m askew_server.http.openapi_document` writes it to stdout."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from askew_server.gallery.catalog import Catalog
from askew_server.http.app import create_fastapi
from askew_server.http.state import AppState
from askew_server.settings import Settings


def openapi_text() -> str:
    """The document of a server as JSON, one member a line, in the order of its routes."""
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(data=Path(folder))
        galleries = Catalog(settings.data, owner="the OpenAPI document")
        try:
            document = json.loads(create_fastapi(AppState(settings, galleries)).state.openapi_document().content)
        finally:
            galleries.close()
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.write(openapi_text())
