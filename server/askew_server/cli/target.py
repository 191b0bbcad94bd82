"""Where a command acts: on a running server, or in a DATA directory that no server is using."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from askew_client.errors import AskewError
from askew_server.cli.options import check_name

if TYPE_CHECKING:
    from askew_client import Client
    from askew_server.gallery.catalog import Catalog
    from askew_server.gallery.live import LiveGallery
    from askew_server.milvus.place import MilvusPlace

Target = TypeVar("Target")


@dataclass(frozen=True)
class OwnedData:
    """A DATA directory that this process owns.

    `closing`: closed before the directory is given back; a command adds what it opens in the directory.
    """

    folder: Path
    catalog: Catalog
    closing: ExitStack

    def gallery_folder(self, gallery: str) -> Path:
        """The folder of a gallery, by name or alias, whether or not the gallery is open. Raises AskewError."""
        from askew_server.gallery.catalog import gallery_folder

        return gallery_folder(self.catalog, self.folder / "galleries", gallery)

    def create_gallery(self, name: str, teacher: Path, place: MilvusPlace | None = None) -> LiveGallery:
        """The gallery of a name, which keeps its teacher's file. It is created if it does not exist.

        `place`: where its items are to be, in Milvus; then the gallery must be new.

        Raises AskewError for a name that a gallery cannot have or a file that is not an encoder, Refusal if the gallery
        has another teacher.
        """
        from askew_client.contract.encoder_file import parse_encoder_file

        content = teacher.read_bytes()
        file = parse_encoder_file(content, str(teacher))
        if place is None:
            gallery, _ = self.catalog.get_or_create(check_name(name), file.manifest)
        else:
            from askew_server.milvus.opening import make_collection
            from askew_server.storage.facts import MILVUS_PLACE

            self.catalog.check_free(check_name(name))
            make_collection(place, file.manifest.space_id, file.manifest.dim)
            facts = {MILVUS_PLACE: place.model_dump_json()}
            gallery, _ = self.catalog.get_or_create(name, file.manifest, facts)
        gallery.run(lambda each: each.keep_encoder(file, content, None))
        return gallery


def choose_target(data: Path | None, server: str | None) -> tuple[Path | None, str | None]:
    """DATA or the server's URL, exactly one of them: from the options, or else from ASKEW_SERVER or ASKEW_DATA.

    If both variables are set, the server is meant: it uses that DATA. Raises AskewError if both options are given, or
    nothing names either.
    """
    if data is not None and server is not None:
        raise AskewError(f"Expected --data or --server, got both ({data} and {server[:200]}). Name one of them.")
    if data is not None or server is not None:
        return data, server
    server = os.environ.get("ASKEW_SERVER")
    if server:
        return None, server
    named = os.environ.get("ASKEW_DATA")
    if named:
        return Path(named), None
    raise AskewError(
        "Expected --data DIR (a DATA directory that no server is using) or --server URL, got neither. ASKEW_DATA or "
        "ASKEW_SERVER in the environment serve as well."
    )


def is_target_in_environment() -> bool:
    """Whether ASKEW_SERVER or ASKEW_DATA names a target."""
    return bool(os.environ.get("ASKEW_SERVER") or os.environ.get("ASKEW_DATA"))


@contextmanager
def open_target(
    data: Path | None,
    server: str | None,
    key: str | None,
    *,
    command: str,
    served: Callable[[Client], Target],
    local: Callable[[OwnedData], Target],
    opens_galleries: bool = True,
    makes_data: bool = False,
    timeout: float = 10,
) -> Iterator[Target]:
    """Open what a command acts on: `served(client)` if a server is named, else `local(data)`.

    `command`: named as the owner of DATA in the error that another process gets in the meantime. `opens_galleries`:
    False for a command that only reads files, and so needs no index in memory. `makes_data`: True for a command that may
    fill a new DATA directory. `timeout`: of one request, in seconds. Raises AskewError as `choose_target` does, and for a
    DATA that does not exist; DataInUse if another process owns DATA.
    """
    data, server = choose_target(data, server)
    with ExitStack() as closing:
        if server is not None:
            from askew_client import Client

            yield served(closing.enter_context(Client(server, timeout=timeout, key=key)))
            return
        assert data is not None
        if not makes_data and not data.is_dir():
            raise AskewError(f"Expected a DATA directory, but there is none at {data}. Check --data (or ASKEW_DATA).")
        from askew_server.gallery.catalog import Catalog

        catalog = Catalog(data, owner=command)
        closing.callback(catalog.close)
        if opens_galleries:
            catalog.load()
        yield local(OwnedData(data, catalog, closing))
