"""The photo files of revisited Oxford and Paris, and of the distractors R1M, in the folders of their publishers."""

from __future__ import annotations

from pathlib import Path

from askew_client.cli.taken import Intake
from askew_client.encoding.photos import SUFFIXES
from askew_training.data.photo_sets import Photo, photos_in
from askew_training.errors import DataError
from askew_training.evaluate.revisited.ground_truth import GroundTruth

DISTRACTORS = "revisitop1m"


def find_photos(root: Path, dataset: str, truth: GroundTruth) -> dict[str, Path]:
    """The file of every query and gallery photo by its name, whether or not it is there.

    The folder is `root/DATASET/jpg`, `root/jpg`, or the one with the ground truth: the first that has a photo of it. Raises
    DataError if none has.
    """
    names = (*(query.name for query in truth.queries), *truth.images)
    folders = [root / dataset / "jpg", truth.file.parent / "jpg", root / "jpg", root / dataset, root]
    for folder in folders:
        files = {name: _file_of(folder, name) for name in names}
        if any(files[name].is_file() for name in truth.images) and any(
            files[query.name].is_file() for query in truth.queries
        ):
            return files
    raise DataError(
        f"The ground truth {truth.file} does not fit the photos: {folders[0]} holds none of its {len(truth.queries)} queries, or "
        f"none of its {len(truth.images)} gallery photos, such as {truth.queries[0].name}.jpg and {truth.images[0]}.jpg. "
        f"Expected the photos of {dataset} there."
    )


def distractor_photos(folder: Path, intake: Intake) -> list[Photo]:
    """The photos of a folder of distractors: those that `revisitop1m.txt` lists, in its order, or else all, by path.

    Listed names are files of `jpg` or of the folder itself. `intake` counts names that cannot be read. Raises DataError.
    """
    if not folder.is_dir():
        raise DataError(f"Expected a folder of distractors or a .npy file of their vectors, but {folder} is neither.")
    listing = folder / f"{DISTRACTORS}.txt"
    if not listing.is_file():
        return photos_in(folder, intake)
    try:
        names = [line.strip() for line in listing.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError):
        raise DataError(f"{listing} cannot be read as UTF-8. Expected the name of a photo on each line.") from None
    for name in names:
        if ".." in Path(name).parts or Path(name).is_absolute() or "\0" in name:
            raise DataError(f"{listing}: expected names of photos below {folder}, got {name[:80]!r}.")
    images = folder / "jpg" if (folder / "jpg").is_dir() else folder
    return [Photo(images / name, "", "gallery", "", DISTRACTORS, name) for name in dict.fromkeys(names)]


def _file_of(folder: Path, name: str) -> Path:
    published = folder / f"{name}.jpg"
    if published.is_file():
        return published
    others = (folder / f"{name}{suffix}" for suffix in (*sorted(SUFFIXES), ""))
    return next((file for file in others if file.is_file()), published)
