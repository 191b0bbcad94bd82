"""Describing photos for a shard: vector, digest and picture of each, several at a time."""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from threading import Event

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from askew_client.encoding.encoder import Encoder
from askew_client.encoding.photos import photo_border, read_photo, shrunk_size
from askew_client.errors import EncoderFailed, PhotoError
from askew_server.ingest.photo_files import read_file
from askew_server.ingest.photo_folder import PhotoFile
from askew_server.ingest.shard_file import Pictures, ShardRow, modified

_QUALITY = 90
_AHEAD = 3
"""So many photos for each worker are in memory at most."""


@dataclass(frozen=True)
class NotDescribed:
    """Why a photo has no row: it could not be read (an OSError), or not be described (a PhotoError)."""

    error: OSError | PhotoError


def describe_photos(
    photos: Iterable[PhotoFile], encoder: Encoder, pictures: Pictures, *, workers: int
) -> Generator[tuple[PhotoFile, ShardRow | NotDescribed]]:
    """Describe photos, in their order. `encoder` should use one thread: as many photos as `workers` are described at once.

    The vectors are those of `askew index`. What is raised is not about one photo.
    """
    stopped = Event()
    with ThreadPoolExecutor(workers, thread_name_prefix="describe") as pool:
        waiting: deque[tuple[PhotoFile, Future[ShardRow | NotDescribed]]] = deque()
        try:
            for photo in photos:
                waiting.append((photo, pool.submit(_describe, photo, encoder, pictures, stopped)))
                if len(waiting) >= _AHEAD * workers:
                    first, described = waiting.popleft()
                    yield first, described.result()
            while waiting:
                first, described = waiting.popleft()
                yield first, described.result()
        finally:
            stopped.set()


def copy_of(pixels: NDArray[np.uint8], photo_size: int) -> bytes:
    """A JPEG of a photo, uint8 [H, W, 3], shrunk to at most `photo_size` pixels on its longest side, without metadata."""
    height, width = shrunk_size(pixels.shape[0], pixels.shape[1], photo_size)
    # The size and the filter of the encoder's own Resize, and whole colours: the copy is described almost as the photo is.
    picture = Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR)
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=_QUALITY, subsampling=0)
    return stream.getvalue()


def _describe(photo: PhotoFile, encoder: Encoder, pictures: Pictures, stopped: Event) -> ShardRow | NotDescribed:
    if stopped.is_set():
        return NotDescribed(PhotoError("stopped"))
    try:
        # Before the bytes: a file that changes in between is described again by the next run.
        size, changed = modified(photo.path)
        content = read_file(photo.path)
        with photo_border("The photo", encoder.max_pixels):
            pixels = read_photo(content, max_pixels=encoder.max_pixels)
            vector = encoder.encode_pixels(pixels)
            kept = copy_of(pixels, encoder.manifest.photo_size) if pictures == "copies" else content
    except (OSError, PhotoError) as error:
        return NotDescribed(error)
    # The engine may fail on this photo and not on the next one.
    except EncoderFailed as error:
        return NotDescribed(PhotoError(str(error)))
    return ShardRow(
        file=stored_name(photo),
        file_bytes=size,
        file_modified_ns=changed,
        id=photo.id,
        vector=vector.astype("<f2").tobytes(),
        payload=payload_text(photo),
        photo_sha256=hashlib.sha256(content).hexdigest(),
        photo=None if pictures == "none" else kept,
    )


def payload_text(photo: PhotoFile) -> str:
    """The payload of a photo's item as a shard has it."""
    return json.dumps(photo.payload, sort_keys=True)


def stored_name(photo: PhotoFile) -> str:
    """The path in the folder as a shard has it: text, whatever bytes the name consists of."""
    return os.fsencode(photo.name).decode(errors="backslashreplace")
