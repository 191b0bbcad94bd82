"""A gallery's pack on the disk: `offline/` in the gallery's folder, with the policy, the file, and a record of it.

| file | content |
|---|---|
| `policy.json` | what may leave the server; without it there is no pack |
| `pack.json` | which file is the pack, and what its codec was measured at |
| `SHA256.pack` | the pack, and the one before, which a download may have begun to read |
| `building-…/` | a pack that is being made |

Files are replaced by renaming, so that a crash leaves the older state or the newer one. Withdrawing renames the whole
folder: whoever was about to put a pack there finds no folder.
"""

from __future__ import annotations

import secrets
import shutil
from pathlib import Path

from pydantic import BaseModel, ValidationError

from askew_client.contract.offline_pack import OfflinePackPolicy, PackHeader
from askew_client.contract.problems import ProblemKind
from askew_client.contract.snapshots import Sha256
from askew_client.files import flush_folder, write_atomically
from askew_server.errors import Refusal

FOLDER = "offline"
WITHDRAWN = ".offline-withdrawn-"
"""How the name of a withdrawn folder begins until it is removed."""
BUILDING = "building-"

_POLICY = "policy.json"
_RECORD = "pack.json"


class PackRecord(BaseModel):
    """The pack that was made last.

    `trained_items`, `trained_recall`, `trained_cosine`, `trained_weights`, `trained_size`: see Trained in writer.py; the
    weights as base64 of little-endian float32. `before`: the SHA-256 of the pack that it replaced, whose file is kept until the next one:
    somebody who was told of it may be about to open it.
    """

    header: PackHeader
    size: int
    sha256: Sha256
    trained_items: int
    trained_recall: float | None
    trained_cosine: float = 1.0
    trained_weights: str | None = None
    trained_size: int | None = None
    before: Sha256 | None = None


class OfflineStore:
    """The pack of one gallery. May be used from several threads. Methods raise OSError."""

    def __init__(self, gallery: str, folder: Path) -> None:
        """`folder`: of the gallery."""
        self._gallery = gallery
        self._parent = folder
        self.folder = folder / FOLDER

    # What may leave

    def policy(self) -> OfflinePackPolicy | None:
        """The policy; None if no pack is allowed. A policy that cannot be read allows none."""
        try:
            return OfflinePackPolicy.model_validate_json((self.folder / _POLICY).read_bytes())
        except (FileNotFoundError, ValidationError):
            return None

    def require_policy(self) -> OfflinePackPolicy:
        """The policy. Raises Refusal (no-offline-pack) if no pack is allowed."""
        policy = self.policy()
        if policy is None:
            raise not_allowed(self._gallery)
        return policy

    def allow(self, policy: OfflinePackPolicy) -> None:
        """Allow a pack by this policy, in place of any other; on the disk when it returns."""
        self.remove_leftovers()
        if not self.folder.exists():
            self.folder.mkdir(exist_ok=True)
            flush_folder(self._parent)
        write_atomically(self.folder / _POLICY, policy.model_dump_json(indent=1).encode())

    def withdraw(self) -> None:
        """Allow no pack any more and remove it. Raises Refusal (no-offline-pack) if none was allowed."""
        aside = self._parent / f"{WITHDRAWN}{secrets.token_hex(4)}"
        try:
            self.folder.rename(aside)
        except FileNotFoundError:
            raise not_allowed(self._gallery) from None
        flush_folder(self._parent)
        shutil.rmtree(aside, ignore_errors=True)

    # The pack

    def record(self) -> PackRecord | None:
        """The pack that was made last, whether or not it may be served; None if there is none."""
        try:
            record = PackRecord.model_validate_json((self.folder / _RECORD).read_bytes())
            is_whole = self.path(record).stat().st_size == record.size
        except (FileNotFoundError, ValidationError):
            return None
        return record if is_whole else None

    def served(self, policy: OfflinePackPolicy, space: str) -> PackRecord | None:
        """The pack, if it holds nothing beyond the policy and is in this space; else None."""
        record = self.record()
        if record is None or record.header.space != space:
            return None
        return record if _holds_no_more(record, policy) else None

    def path(self, record: PackRecord) -> Path:
        """The file of a pack."""
        return self.folder / f"{record.sha256}.pack"

    def begin(self, name: str) -> Path:
        """A new, empty folder to make a pack in; what an earlier attempt left is removed."""
        self.remove_leftovers()
        for path in self.folder.glob(f"{BUILDING}*"):
            shutil.rmtree(path, ignore_errors=True)
        made = self.folder / f"{BUILDING}{name}"
        made.mkdir()
        return made

    def publish(self, made: Path, record: PackRecord) -> None:
        """Put a complete file, which is on the disk, in the place of the pack. Raises FileNotFoundError if withdrawn."""
        before, policy = self.record(), self.policy()
        made.rename(self.path(record))
        flush_folder(self.folder)
        # A file with what may not leave any more is of no use to anybody.
        if before is not None and (policy is None or not _holds_no_more(before, policy)):
            before = None
        record = record.model_copy(update={"before": None if before is None else before.sha256})
        write_atomically(self.folder / _RECORD, record.model_dump_json().encode())
        kept = self._files(record)
        for path in self.folder.glob("*.pack"):
            if path not in kept:
                path.unlink(missing_ok=True)

    def remove_leftovers(self) -> None:
        """Remove withdrawn folders that a crash has left."""
        for path in self._parent.glob(f"{WITHDRAWN}*"):
            shutil.rmtree(path, ignore_errors=True)

    def leftovers(self) -> list[Path]:
        """What a crash has left, and files of no use: nothing is lost when they are removed."""
        found = list(self._parent.glob(f"{WITHDRAWN}*"))
        if not self.folder.is_dir():
            return sorted(found)
        record = self.record()
        known = {self.folder / _POLICY, *([] if record is None else [self.folder / _RECORD, *self._files(record)])}
        return sorted(found + [path for path in self.folder.iterdir() if path not in known])

    def _files(self, record: PackRecord) -> set[Path]:
        """The file of a pack, and of the one before."""
        return {self.folder / f"{sha256}.pack" for sha256 in (record.sha256, record.before) if sha256 is not None}


def _holds_no_more(record: PackRecord, policy: OfflinePackPolicy) -> bool:
    """Whether a pack holds nothing that a policy does not let out."""
    header = record.header
    return set(header.fields) <= set(policy.fields) and header.thumbnail_size <= policy.thumbnails


def not_allowed(gallery: str) -> Refusal:
    """The refusal where no pack is allowed: for the person who asks, and for the administrator who can change it."""
    return Refusal(
        ProblemKind.NO_OFFLINE_PACK,
        f"Gallery {gallery!r} may not be taken offline: no offline pack is allowed for it. An administrator allows one with "
        f"`askew gallery pack {gallery} --fields …`, or PUT /v1/galleries/{gallery}/offline-pack.",
        {"allowed": False},
    )
