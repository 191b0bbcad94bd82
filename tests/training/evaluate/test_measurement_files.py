"""The names of measurement files: none takes the place of another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from askew_training.errors import DataError
from askew_training.evaluate.measurement import Measurement
from askew_training.evaluate.measurement_files import check_target, measurement_paths, write_measurements
from tests.training.evaluate.revisited.truths import conditions


def measurement(**changes: Any) -> Measurement:
    side = conditions().queries
    fields = {"dataset": "walls", "protocol": "instances", "queries": side, "gallery": side, "results": ()}
    return Measurement(**{**fields, "gallery_photos": 1, **changes})


@pytest.mark.parametrize(
    ("measurements", "names"),
    [
        ([measurement()], ["out.json"]),
        ([measurement(protocol="easy"), measurement(protocol="hard")], ["out.easy.json", "out.hard.json"]),
        ([measurement(), measurement(dataset="a/b c")], ["out.walls.json", "out.a_b_c.json"]),
        ([measurement(dataset="a b"), measurement(dataset="a_b")], ["out.json", "out.2.json"]),
        (
            [measurement(), measurement(average_precision="standard")],
            ["out.instances-trapezoid.json", "out.instances-standard.json"],
        ),
    ],
)
def test_names_tell_what_differs(measurements: list[Measurement], names: list[str], tmp_path: Path) -> None:
    paths = write_measurements(tmp_path / "new" / "out.json", measurements)
    assert [path.name for path in paths] == names
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == sorted(names)


def test_files_of_a_folder_differ_by_encoders_and_settings() -> None:
    other = conditions().queries.model_copy(update={"sha256": "1" * 64})
    measurements = [measurement(), measurement(queries=other), measurement(settings={"crop": False})]
    paths = [measurement_paths(Path("all"), [each])[0] for each in measurements]
    assert len(set(paths)) == 3
    assert all(path.name.startswith("walls.instances.s@1-on-s@1.") for path in paths)


def test_a_place_that_cannot_be_written_to_is_found_before_the_work(tmp_path: Path) -> None:
    check_target(tmp_path / "a" / "b.json")
    check_target(tmp_path / "c")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "c"]
    (tmp_path / "folder.json").mkdir()
    with pytest.raises(DataError, match="is a folder"):
        check_target(tmp_path / "folder.json")
    with pytest.raises(DataError, match="cannot be written to"):
        check_target(Path("/proc/none/out.json"))
