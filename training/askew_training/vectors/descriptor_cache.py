"""A cache of the vectors of any encoder, by the digests of the encoder and of each photo, and by box."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from askew_client.contract.wire import check_vector
from askew_client.encoding.photos import read_photo
from askew_client.errors import EncoderFailed, PhotoError, WireError
from askew_training.data.crops import RULE, Crop, check_side, corners, cut, longest_side
from askew_training.data.parallel import map_in_threads
from askew_training.errors import CacheError
from askew_training.vectors.description import describe_photos, open_encoder, save_at_intervals
from askew_training.vectors.descriptor_file import DescriptorFile

SAVED_EVERY = 20.0
"""Seconds between two writes: the most work that a crash can lose."""

Described = TypeVar("Described", bound=Hashable)
Shrink = Callable[[NDArray[np.uint8], int], NDArray[np.uint8]]
"""Shrinks uint8 [H, W, 3] to a longest side, by the filter of encoders."""


@dataclass(frozen=True)
class Descriptors(Generic[Described]):
    """Unit vectors, float32 [D], by what was described, and a sentence for each that cannot be described."""

    vectors: dict[Described, NDArray[np.float32]]
    unreadable: dict[Described, str]


class DescriptorCache:
    """The vectors of one encoder file, in a folder, by the SHA-256 of each photo's bytes.

    An encoder that was exported differently, or a photo that was changed, has another digest and is described again.
    What is missing or damaged in the cache is described again, too.
    """

    def __init__(self, folder: Path, encoder_file: Path) -> None:
        """Open the encoder and its cache. Raises what Encoder raises, and CacheError if the folder cannot be made."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CacheError(
                f"Expected a folder for vectors, but {folder} cannot be made: {error.strerror}. Choose another with --cache."
            ) from None
        self.encoder = open_encoder(encoder_file)
        self._file = DescriptorFile(folder, self.encoder.file.sha256, self.encoder.manifest.dim)

    def describe(self, paths: Sequence[Path], on_photo: Callable[[], None]) -> Descriptors[Path]:
        """Describe photos, those that are not cached yet on all cores; `on_photo` is called after each.

        Vectors that were computed are kept even if this is interrupted.
        """
        return self._describe(paths, lambda path: path, lambda _, digest: digest, self._describe_paths, on_photo)

    def describe_crops(self, crops: Sequence[Crop], shrink: Shrink, on_photo: Callable[[], None]) -> Descriptors[Crop]:
        """Describe boxes of photos, each at the scale that its whole photo would have; as `describe` otherwise.

        `shrink`: the filter of encoders. The pixels are those of `askew_training.data.crops`.
        """

        def describe_one(crop: Crop) -> NDArray[np.float32] | PhotoError:
            try:
                pixels = read_photo(crop.path)
                inside = cut(pixels, crop)
                longest = longest_side(inside.shape, pixels.shape, self.encoder.manifest.photo_size)
                check_side(inside, crop, longest)
                return self.encoder.encode_pixels(shrink(inside, longest))
            except PhotoError as error:
                return error
            # The engine may fail on this photo and not on the next one.
            except EncoderFailed as error:
                return PhotoError(str(error))

        return self._describe(
            crops,
            lambda crop: crop.path,
            lambda crop, digest: f"{digest}:{','.join(map(str, corners(crop.box)))}:{RULE}",
            lambda unknown: map_in_threads(describe_one, unknown),
            on_photo,
        )

    def _describe(
        self,
        wanted: Sequence[Described],
        path_of: Callable[[Described], Path],
        key_of: Callable[[Described, str], str],
        describe: Callable[[Sequence[Described]], Iterable[NDArray[np.float32] | PhotoError]],
        on_photo: Callable[[], None],
    ) -> Descriptors[Described]:
        keys: dict[Described, str] = {}
        unreadable: dict[Described, str] = {}
        for each, digest in zip(wanted, map_in_threads(lambda each: _digest(path_of(each)), wanted), strict=True):
            if isinstance(digest, OSError):
                unreadable[each] = f"{path_of(each)} cannot be read: {digest.strerror}."
            else:
                keys[each] = key_of(each, digest)
        # Earlier versions kept whatever an encoder gave; what is no unit vector is described again, and refused.
        known = {key: row for key, row in self._file.read(list(keys.values())).items() if _is_unit(row)}
        unknown = list({key: each for each, key in keys.items() if key not in known}.values())
        for _ in range(len(wanted) - len(unknown)):
            on_photo()
        unsaved: dict[str, NDArray[np.float32]] = {}

        def save() -> None:
            self._file.append(unsaved)
            unsaved.clear()

        failed: dict[str, str] = {}
        with save_at_intervals(save, SAVED_EVERY) as after_photo:
            for each, result in zip(unknown, describe(unknown), strict=True):
                if isinstance(result, PhotoError):
                    failed[keys[each]] = str(result)
                else:
                    known[keys[each]] = unsaved[keys[each]] = result
                on_photo()
                after_photo()
        unreadable |= {each: failed[key] for each, key in keys.items() if key in failed}
        return Descriptors({each: known[key] for each, key in keys.items() if key in known}, unreadable)

    def _describe_paths(self, paths: Sequence[Path]) -> Iterable[NDArray[np.float32] | PhotoError]:
        return describe_photos(self.encoder, paths)


def _is_unit(row: NDArray[np.float32]) -> bool:
    try:
        check_vector(row)
    except WireError:
        return False
    return True


def _digest(path: Path) -> str | OSError:
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        return error
