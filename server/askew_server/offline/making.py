"""Make the pack of a gallery, in a child process at low priority, and put it in the place of the older one."""

from __future__ import annotations

import base64
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np

from askew_client.contract.offline_pack import OfflinePackResult
from askew_client.errors import AskewError
from askew_server.clock import utc_milliseconds
from askew_server.index.threads import limit_threads, search_threads
from askew_server.offline.drawing import Draw
from askew_server.offline.store import OfflineStore, PackRecord, not_allowed
from askew_server.offline.thumbnails import thumbnail
from askew_server.offline.writer import PackOrder, Report, Trained, WrittenPack, write_pack
from askew_server.processes import Child, ChildLost, ChildStopped, LimitExceeded, Limits, Say
from askew_server.storage.facts import require_items_here

MAKING_LIMITS = Limits(seconds=24 * 3_600)
"""What making a pack may use: it trains codes like the build of an index, and reads each photo for its thumbnail."""

PHOTO_LIMITS = Limits(seconds=120, processor_seconds=60)
"""What the thumbnail of one photo may use. One that needs more has none, and the pack is made without it."""

_PACK = "pack"


def require_packable(gallery: str, folder: Path) -> None:
    """Raise Refusal (validation) for a gallery of which no pack can be made."""
    instead = (
        "A gallery that needs Milvus is too large for a phone; make a pack of a smaller gallery of the chosen items."
    )
    require_items_here(folder, gallery, "An offline pack", instead)


def make_pack(
    gallery: str,
    folder: Path,
    name: str,
    report: Report,
    cancelled: Callable[[], bool],
    *,
    max_pixels: int,
    limits: Limits = MAKING_LIMITS,
    photo_limits: Limits = PHOTO_LIMITS,
    draw: Draw = thumbnail,
) -> OfflinePackResult:
    """Make the pack of the gallery in `folder` by its policy. The older pack is served until the new one is complete.

    `name`: of the folder that it is made in. `max_pixels`, `photo_limits`: of a photo that a thumbnail is made of. `draw`: makes one. Raises ChildStopped soon
    after `cancelled()` is true, Refusal (no-offline-pack) if none is allowed, or not any more; DatabaseError, OSError.
    """
    require_packable(gallery, folder)
    store = OfflineStore(gallery, folder)
    policy = store.require_policy()
    try:
        work = store.begin(name)
    except FileNotFoundError:
        raise not_allowed(gallery) from None
    before = store.record()
    earlier = None
    if before is not None:
        earlier = store.path(before), _trained_of(before)
    order = PackOrder(gallery, folder, policy, utc_milliseconds(), max_pixels, earlier, photo_limits, draw)
    try:
        if cancelled():
            raise ChildStopped
        with Child(may_have_children=True) as child:
            made = child.run(
                _write,
                (order, work / _PACK),
                {},
                limits=limits,
                hear=lambda done: report(*done),
                is_unwanted=cancelled,
            )
        store.publish(work / _PACK, _record_of(made))
    except FileNotFoundError:
        # Withdrawing moves the folder away, also while a pack is being made in it.
        if work.exists():
            raise
        raise not_allowed(gallery) from None
    except LimitExceeded as error:
        raise AskewError(
            f"Making the offline pack of {gallery!r} was stopped: {error.what}, which is the most that it may. The older "
            "pack, if there is one, is still served. Make it again, or with smaller thumbnails; the server's setting "
            "build_seconds allows more."
        ) from None
    except ChildLost:
        raise AskewError(
            f"The process that made the offline pack of {gallery!r} was ended by the system, perhaps for lack of memory. "
            "The older pack, if there is one, is still served. Make it again."
        ) from None
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return OfflinePackResult(
        sequence=made.header.sequence,
        items=made.header.items,
        size=made.size,
        sha256=made.sha256,
        codec=made.header.codec,
        recall=made.header.recall,
        thumbnails=made.thumbnails,
        unreadable_photos=made.unreadable_photos,
        trained=made.is_new_codec,
    )


def _write(say: Say, order: PackOrder, target: Path) -> WrittenPack:
    limit_threads(search_threads())
    return write_pack(order, target, lambda done, total: say((done, total)))


def _record_of(made: WrittenPack) -> PackRecord:
    trained = made.trained
    weights = None if trained.weights is None else base64.b64encode(trained.weights.astype("<f4").tobytes()).decode()
    return PackRecord(
        header=made.header,
        size=made.size,
        sha256=made.sha256,
        trained_items=trained.items,
        trained_recall=trained.recall,
        trained_cosine=trained.cosine,
        trained_weights=weights,
        trained_size=trained.size,
    )


def _trained_of(record: PackRecord) -> Trained:
    weights = None
    if record.trained_weights is not None:
        weights = np.frombuffer(base64.b64decode(record.trained_weights), dtype="<f4").astype(np.float32)
    return Trained(record.trained_items, record.trained_recall, record.trained_cosine, weights, record.trained_size)
