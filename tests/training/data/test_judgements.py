"""The optional columns of a manifest."""

from __future__ import annotations

from pathlib import Path

import pytest

from askew_client.cli.taken import Intake
from askew_training.data.photo_sets import read_manifest
from askew_training.errors import DataError
from tests.support.training_helpers import MANIFEST_HEADER

JUDGED = "path,instance_ids,role,benchmark,set,junk,bbox,ap\n"


def manifest(folder: Path, text: str) -> Path:
    (folder / "m.csv").write_text(text)
    return folder / "m.csv"


def test_photos_are_judged_for_several_instances(tmp_path: Path) -> None:
    query, gallery, plain = read_manifest(
        manifest(
            tmp_path,
            JUDGED + "q.jpg,arch,query,walls,north,,10 20.5 90 80,standard\n"
            "g.jpg,arch; tower;arch,gallery,walls,north,bridge;wall,,\n"
            "p.jpg,,gallery,walls,north,,,\n",
        )
    )
    assert (query.instances, query.box, query.average_precision) == (("arch",), (10, 20.5, 90, 80), "standard")
    assert (gallery.instance_id, gallery.instances) == ("arch", ("arch", "tower"))
    assert (gallery.junk_for, gallery.box, gallery.average_precision) == (("bridge", "wall"), None, "trapezoid")
    assert (plain.instance_id, plain.instances, plain.junk_for) == ("", (), ())


def test_an_instance_id_of_an_older_manifest_is_never_split(tmp_path: Path) -> None:
    (photo,) = read_manifest(manifest(tmp_path, MANIFEST_HEADER + "g.jpg, a;b ,train,walls,north\n"))
    assert (photo.instance_id, photo.instances) == (" a;b ", (" a;b ",))


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("q.jpg,a;b,query,walls,north,,,", "line 2: expected one instance of a photo with the role query, got a; b"),
        ("q.jpg,a;b,train,walls,north,,,", "expected one instance of a photo with the role train"),
        ("q.jpg,a,query,walls,north,b,,", "expected junk only with the role gallery, got query"),
        ("q.jpg,a,gallery,walls,north,,1 2 3 4,", "expected bbox and ap only with the role query, got gallery"),
        ("q.jpg,a,gallery,walls,north,,,standard", "expected bbox and ap only with the role query"),
        ("q.jpg,a,query,walls,north,,1 2 3,", "expected a bbox x1 y1 x2 y2 with x1 < x2 and y1 < y2, got '1 2 3'"),
        ("q.jpg,a,query,walls,north,,9 2 3 4,", "expected a bbox"),
        ("q.jpg,a,query,walls,north,,1 2 inf 4,", "expected a bbox"),
        ("q.jpg,a,query,walls,north,,,sklearn", "expected the ap trapezoid or standard, got 'sklearn'"),
        ("q.jpg,a;b,gallery,walls,north,b,,", "expected a photo to show b or to be junk for it, got both"),
    ],
)
def test_a_line_with_other_judgements_is_named(tmp_path: Path, line: str, sentence: str) -> None:
    path = manifest(tmp_path, JUDGED + line + "\nrest.jpg,a,query,walls,north,,,\n")
    with pytest.raises(DataError, match=sentence):
        read_manifest(path)
    intake = Intake()
    assert [photo.id for photo in read_manifest(path, intake)] == ["rest.jpg"]
    assert intake.count("skipped") == 1


def test_both_columns_of_instances_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="Expected one of them"):
        read_manifest(manifest(tmp_path, "instance_ids," + MANIFEST_HEADER))
