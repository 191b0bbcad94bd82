"""Which files of a folder are photos. Every file ends in one count: a photo, skipped, or left out on purpose."""

from __future__ import annotations

import os
import re
import stat
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from askew_client.cli.taken import NAMED_AS_JSON, Intake
from askew_client.encoding.photos import MEDIA_TYPE_BYTES, SUFFIXES, media_type
from askew_client.errors import AskewError, UnreadablePhoto
from askew_server.ingest.photo_files import open_file
from askew_server.ingest.shards import WHOLE, Shard

PHOTO_SUFFIXES = SUFFIXES | {".pjpeg", ".hif"}
"""Files of these names are meant as photos. One that this installation cannot decode is skipped, and not left out."""

SYSTEM_FOLDERS = frozenset(
    {
        # Synology, QNAP, Asustor and other network storage: thumbnails, recycle bins, snapshots.
        "@eadir",
        "#recycle",
        "#snapshot",
        "@recycle",
        "@recently-snapshot",
        "@snapshot",
        "@tmp",
        "@__thumb",
        "~snapshot",
        # Windows and Linux.
        "$recycle.bin",
        "system volume information",
        "lost+found",
        # Mac.
        "__macosx",
        "network trash folder",
        "temporary items",
    }
)
"""Names of folders, in lower case, that systems make by themselves. Folders whose name begins with a dot are hidden."""

SYSTEM_FILES = frozenset({"thumbs.db", "ehthumbs.db", "desktop.ini", "picasa.ini", "icon\r"})
_THUMBNAIL = re.compile(r"SYNO(PHOTO|FILE)_THUMB", re.IGNORECASE)
_SUFFIX = re.compile(r"\.(?=.*[a-z])[a-z0-9_~-]{1,12}", re.IGNORECASE)
_KINDS_NAMED = 12

HIDDEN = "hidden (the name begins with a dot)"
IN_SYSTEM_FOLDERS = "in system folders (thumbnails, recycle bins)"
SYSTEM_FILE = "system files"
LINKED_FOLDER = "links to folders, which are not followed"
NAMED_AS_PHOTO = "folders with the name of a photo; what is in them is looked at"
NO_FILE = "neither a file nor a folder (a pipe, socket or device)"
BROKEN_LINK = "a broken link"
UNREADABLE = "cannot be read"
UNREADABLE_FOLDER = "a folder that cannot be read"


@dataclass
class Walk:
    """What was found under a folder. `photos`: sorted. `other_kinds`: files that are no photos, by suffix.

    `is_complete`: whether everything that was meant could be looked at. `shard`: the files of other shards are in no
    count; `has_others`: whether one of them is named as a photo.
    """

    folder: Path
    files: Intake
    shard: Shard = WHOLE
    has_others: bool = False
    photos: list[Path] = field(default_factory=list)
    other_kinds: Counter[str] = field(default_factory=Counter)
    first_others: list[str] = field(default_factory=list)
    is_complete: bool = True

    def name(self, path: str | Path) -> str:
        """The path in the folder."""
        return os.path.relpath(path, self.folder)

    def owns(self, path: str) -> bool:
        """Whether a path belongs to the shard."""
        return self.shard.total == 1 or self.shard.owns(self.name(path))

    def leave_out(self, path: str, reason: str) -> None:
        """Count a file, or every file of a folder, that is passed over on purpose."""
        self.files.leave_out(self.name(path), reason)

    def leave_out_other(self, path: str, suffix: str) -> None:
        """Count a file of another kind."""
        self.other_kinds[suffix] += 1
        if len(self.first_others) < NAMED_AS_JSON:
            self.first_others.append(self.name(path))

    def skip(self, path: str, reason: str, sentence: str) -> None:
        """Count one that was meant and could not be looked at."""
        self.files.skip(self.name(path), reason, sentence)
        self.is_complete = False


def walk_photos(folder: Path, files: Intake, shard: Shard = WHOLE) -> Walk:
    """Look at every file of a shard under a folder, without following links to folders; nothing is opened that could block.

    Counts in `files` what is skipped and left out. Raises AskewError if the folder itself is missing or cannot be read.
    """
    if not folder.is_dir():
        raise AskewError(
            f"Expected a folder of photos, but {folder} {'is not a folder' if folder.exists() else 'is missing'}. Check the path."
        )
    walk = Walk(folder, files, shard)
    waiting = [str(folder)]
    while waiting:
        parent = waiting.pop()
        try:
            with os.scandir(parent) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except OSError as error:
            if parent == str(folder):
                raise AskewError(
                    f"The folder {parent} cannot be read: {error.strerror}. Nothing was indexed; check its permissions."
                ) from None
            walk.skip(parent, UNREADABLE_FOLDER, f"The folder {parent} cannot be read: {error.strerror}.")
            continue
        for entry in entries:
            _take_entry(entry, walk, waiting)
    walk.photos.sort()
    _count_other_kinds(walk)
    return walk


def _take_entry(entry: os.DirEntry[str], walk: Walk, waiting: list[str]) -> None:
    is_folder = entry.is_dir(follow_symlinks=False)
    is_of_another = not walk.owns(entry.path)
    if is_of_another and not is_folder:
        walk.has_others |= not entry.name.startswith(".") and _suffix(entry.name) in {"", *PHOTO_SUFFIXES}
    elif entry.name.startswith("."):
        if not is_of_another:
            _leave_out(entry, walk, HIDDEN)
    elif is_folder:
        if entry.name.lower() in SYSTEM_FOLDERS or entry.name in {"RECYCLER", "RECYCLED"}:
            if not is_of_another:
                _leave_out(entry, walk, IN_SYSTEM_FOLDERS)
            return
        if _suffix(entry.name) in PHOTO_SUFFIXES and not is_of_another:
            walk.leave_out(entry.path, NAMED_AS_PHOTO)
        waiting.append(entry.path)
    elif entry.name.lower() in SYSTEM_FILES or _THUMBNAIL.match(entry.name):
        walk.leave_out(entry.path, SYSTEM_FILE)
    else:
        _take_file(entry, walk)


def _take_file(entry: os.DirEntry[str], walk: Walk) -> None:
    suffix = _suffix(entry.name)
    path = entry.path
    if suffix and suffix not in PHOTO_SUFFIXES:
        if entry.is_symlink() and Path(path).is_dir():
            walk.leave_out(path, LINKED_FOLDER)
        else:
            walk.leave_out_other(path, suffix)
        return
    try:
        mode = Path(path).stat().st_mode
    except OSError as error:
        if entry.is_symlink():
            walk.skip(path, BROKEN_LINK, f"{path} is a link to a file that cannot be found: {error.strerror}.")
        else:
            walk.skip(path, UNREADABLE, f"{path} cannot be read: {error.strerror}.")
        return
    if stat.S_ISDIR(mode):
        walk.leave_out(path, LINKED_FOLDER)
    elif not stat.S_ISREG(mode):
        if suffix:
            walk.files.skip(walk.name(path), NO_FILE, f"{path} is not a file but a pipe, a socket or a device.")
        else:
            walk.leave_out(path, NO_FILE)
    elif suffix:
        walk.photos.append(Path(path))
    else:
        _take_by_content(path, walk)


def _take_by_content(path: str, walk: Walk) -> None:
    """A file without a suffix is a photo if it begins as one."""
    try:
        with open_file(path) as stream:
            head = stream.read(MEDIA_TYPE_BYTES)
    except OSError as error:
        walk.skip(path, UNREADABLE, f"{path} cannot be read: {error.strerror}.")
        return
    if _begins_as_photo(head):
        walk.photos.append(Path(path))
    else:
        walk.leave_out_other(path, "no suffix")


def _begins_as_photo(head: bytes) -> bool:
    try:
        media_type(head)
    except UnreadablePhoto:
        return False
    return True


def _suffix(name: str) -> str:
    """The suffix in lower case; "" for a name such as `IMG_0001`, `St. Mary` or `2021.05`, whose end says nothing."""
    suffix = Path(name).suffix
    return suffix.lower() if _SUFFIX.fullmatch(suffix) else ""


def _leave_out(entry: os.DirEntry[str], walk: Walk, reason: str) -> None:
    """Count a file, or the files in a folder; a folder without files is nothing that is left out."""
    if not entry.is_dir(follow_symlinks=False):
        walk.leave_out(entry.path, reason)
        return
    # Folders of systems are often unreadable, which is no fault here: nothing in them is meant.
    inside = sum(len(names) for _, _, names in os.walk(entry.path))
    if inside:
        walk.files.leave_out(walk.name(entry.path), reason, inside)


def _count_other_kinds(walk: Walk) -> None:
    kinds = walk.other_kinds.most_common()
    if not kinds:
        return
    named = ", ".join(f"{suffix} {count:,}" for suffix, count in kinds[:_KINDS_NAMED])
    reason = f"of other kinds ({named}{', …' if len(kinds) > _KINDS_NAMED else ''})"
    first, *others = sorted(walk.first_others)
    walk.files.leave_out(first, reason, walk.other_kinds.total() - len(others))
    for name in others:
        walk.files.leave_out(name, reason)
