"""The record of a migration that is not complete: which collection it made, and for which gallery."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from askew_client.errors import AskewError
from askew_client.files import flush_folder, write_atomically
from askew_server.milvus.place import MilvusPlace


class MigrationRecord(BaseModel):
    """`target`: the new gallery's name. `place`: the collection, which was not there before.

    `copied`: the sequence number of the old gallery when all of it was in the collection; None before.
    """

    model_config = ConfigDict(frozen=True)

    target: str
    place: MilvusPlace
    copied: int | None = None


class MigrationRecords:
    """The records of a DATA directory, one for each gallery that is being moved. Methods raise OSError."""

    def __init__(self, data: Path) -> None:
        self._folder = data / "migrations"

    def read(self, gallery: str) -> MigrationRecord | None:
        """The record of a gallery; None if no migration of it is unfinished. Raises AskewError if it is damaged."""
        path = self._path(gallery)
        try:
            return MigrationRecord.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return None
        except ValidationError:
            raise AskewError(
                f"Expected the record of a migration in {path}, but it is damaged. Remove it, drop the collection in Milvus, "
                "and begin again."
            ) from None

    def write(self, gallery: str, record: MigrationRecord) -> None:
        """Keep a record; on the disk when this returns."""
        self._folder.mkdir(exist_ok=True)
        write_atomically(self._path(gallery), record.model_dump_json().encode())

    def remove(self, gallery: str) -> None:
        """Forget a record."""
        self._path(gallery).unlink(missing_ok=True)
        if self._folder.is_dir():
            flush_folder(self._folder)

    def _path(self, gallery: str) -> Path:
        return self._folder / f"{gallery}.json"
