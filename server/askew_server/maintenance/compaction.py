"""Removes what deleted items left behind in a gallery's files: free pages, the log, and rows of the index."""

from __future__ import annotations

import shutil

from askew_client.errors import AskewError
from askew_server.gallery.gallery import Gallery
from askew_server.storage.items import SqliteItemStore


def compact_gallery(gallery: Gallery) -> int:
    """Write the database anew without its free pages, empty its log, and remove the index; returns the database's bytes.

    The next opening builds the index anew. Nobody else may have the gallery open. Needs up to twice the size of the
    database on the disk meanwhile; if it is interrupted, the gallery is as it was. Raises AskewError if the items are not
    in DATA or the log is in use, DatabaseError, OSError.
    """
    store = gallery.store
    if not isinstance(store, SqliteItemStore):
        raise AskewError(
            "Expected a gallery whose items are in DATA, got one in Milvus, which removes deleted rows when it compacts."
        )
    if not store.connection.compact():
        raise AskewError(
            f"Expected that nobody reads {store.folder / 'gallery.db'}, but another program does. End it, and run this again."
        )
    size = (store.folder / "gallery.db").stat().st_size
    index = store.folder / "index"
    if index.exists():
        shutil.rmtree(index)
    return size
