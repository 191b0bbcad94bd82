"""Which items of a gallery have no photo in the folder any more, and whether they may be removed."""

from __future__ import annotations

from askew_server.ingest.folder_walk import UNREADABLE
from askew_server.ingest.index_photos import REFUSED, IndexReport
from askew_server.ingest.photo_folder import FoundPhotos

GONE = "without a file here; where this folder alone fills the gallery, --prune removes them"
OTHER_ID = "with a photo that is stored under another id, too; use --prune to remove these"
GONE_AND_KEPT = "without a file here"
OTHER_ID_AND_KEPT = "with a photo that is stored under another id, too"


def count_strays(report: IndexReport, *, pruning: bool) -> None:
    """Count the items that are kept though the folder has no file of their id."""
    for identity, is_here in report.gone.items():
        if is_here:
            report.items.leave_out(identity, OTHER_ID_AND_KEPT if pruning else OTHER_ID)
        else:
            report.items.leave_out(identity, GONE_AND_KEPT if pruning else GONE)


def reason_to_keep(found: FoundPhotos, report: IndexReport, *, is_sure: bool) -> str | None:
    """Why no item may be removed; None if they may.

    `is_sure`: a person looks at the number. Otherwise at most half of the items with a photo are removed, not counting
    those whose photo is stored under another id: more than that looks like the wrong folder, or like one of several.
    """
    if not found.photos:
        return "The folder has no photo that could be taken."
    if not found.is_complete:
        return (
            "Some files of the folder, or some lines of its payloads, could not be looked at, so an item may be theirs. Mend "
            "what is named as skipped, then prune."
        )
    skipped = {REFUSED, UNREADABLE} & set(found.files.reasons["skipped"])
    if skipped:
        return (
            "Some photos could not be read or were refused, and one of them may be the renamed photo of such an item. Mend what "
            "is named as skipped, then prune."
        )
    renamed = {identity for identity, is_here in report.gone.items() if is_here}
    if renamed and found.files.count("unmatched"):
        return (
            "No line is for some photos, which are stored with their paths as ids now. The items with their former ids may have "
            "the payloads that a whole file of payloads would give. Complete it, then prune."
        )
    if not is_sure and found.lines is None and renamed & report.gone_with_payload:
        return (
            f"{len(renamed & report.gone_with_payload):,} of the items have a payload, and their photos are stored under other "
            "ids without one. Is --payloads missing? To go on, answer the question on a terminal, without --yes."
        )
    lost = sum(not is_here for is_here in report.gone.values())
    if not is_sure and 2 * lost > report.with_photo:
        return (
            f"{lost:,} of the gallery's {report.with_photo:,} items with a photo have no file here, which is more than half. Is "
            "this the folder that fills the gallery, and the only one? To go on, answer the question on a terminal, without "
            "--yes."
        )
    return None
