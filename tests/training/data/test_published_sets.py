from __future__ import annotations

import io
import os
import pickle
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from PIL import Image
from typer.testing import CliRunner

from askew_client.errors import AskewError
from askew_training.cli.cache import cache
from askew_training.cli.check_photos import check_photos
from askew_training.cli.whiten import whiten
from askew_training.data.landmarks import read_landmarks
from askew_training.data.pairs import PairedPhotos, pairs_within_instances
from askew_training.data.photo_sets import Photo
from askew_training.data.pickles import read_pickle
from askew_training.data.sfm120k import read_sfm120k, read_whitening_pairs
from askew_training.errors import DataError
from askew_training.export.write import write_encoder
from askew_training.heads import learn_whitening_of_pairs
from askew_training.networks.checkpoint import load_checkpoint
from askew_training.networks.network import Branch, Network
from askew_training.networks.weights import trunk_with_weights
from askew_training.vectors import TeacherVectors
from askew_training.vectors.pooled import describe_pooled
from tests.support.paths import TRAINING_FIXTURES
from tests.support.training_helpers import CARD, TINY_TRUNK, checkpoint_of, picture

FIXTURES = TRAINING_FIXTURES
CIDS = [f"{number * 0x9E3779B97F4A7C15F39CC0605CEDC834 % 2**128:032x}" for number in range(1, 13)]
TRAIN, VAL = CIDS[:8], CIDS[8:]


def table(cids=TRAIN, clusters=(1, 1, 1, 1, 2, 2, 2, 3), queries=(0, 0, 2, 4, 5), positives=(1, 3, 1, 6, 5)):
    return {"cids": list(cids), "cluster": list(clusters), "qidxs": list(queries), "pidxs": list(positives)}


def both(**changes):
    return {"train": {**table(), **changes}, "val": table(VAL, (7, 7, 9, 9), (0, 2), (1, 3))}


def dumped(folder, content, protocol=2) -> Path:
    file = folder / "list.pkl"
    file.write_bytes(pickle.dumps(content, protocol))
    return file


def path_of(cid: str) -> str:
    return f"{cid[-2:]}/{cid[-4:-2]}/{cid[-6:-4]}/{cid}"


# Pickles that are read


@pytest.mark.parametrize("protocol", [0, 2])
def test_a_list_that_python_2_and_numpy_1_wrote_is_read(protocol: int) -> None:
    file = FIXTURES / f"sfm120k_python2_protocol{protocol}.pkl"
    train, val = (read_sfm120k(file, Path("ims"), split) for split in ("train", "val"))
    assert [photo.instance_id for photo in train.photos] == ["200", "200", "200", "7", "7"]
    assert train.photos[1].id == "9e3779b97f4a7c15f39cc0605cedc834"
    assert (train.queries.tolist(), train.positives.tolist()) == ([0, 1, 3, 2], [1, 2, 4, 0])
    assert [photo.instance_id for photo in val.photos] == ["9", "9", "9"]
    assert (val.queries.tolist(), val.positives.tolist()) == ([0], [2])


@pytest.mark.parametrize(
    ("protocol", "names"),
    [*((each, b"numpy._core") for each in range(6)), *((each, b"numpy.core") for each in range(4))],
)
def test_numbers_and_arrays_of_numpy_come_back_as_they_were(tmp_path: Path, protocol: int, names: bytes) -> None:
    content = {
        "scalars": [np.int64(-3), np.float32(1.5), np.str_("é"), np.bool_(True), 7, 2.5, None, 2**70, b"\xff\x00"],
        "arrays": [np.arange(6).reshape(2, 3), np.array([[1.5], [2.5]], order="F"), np.array(["a", "bc"])],
        "others": (np.array([1, 258], ">i4"), np.array([b"ab"]), np.zeros(0, np.uint8), [[]]),
    }
    # The names of NumPy 2, or of NumPy 1; from protocol 4 on their length is stated, too.
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(content, protocol).replace(b"numpy._core", names))
    back = read_pickle(tmp_path / "a.pkl")
    assert back["scalars"] == content["scalars"]
    assert [type(value) for value in back["scalars"]] == [type(value) for value in content["scalars"]]
    for key in ("arrays", "others"):
        for ours, theirs in zip(back[key], content[key], strict=True):
            np.testing.assert_array_equal(ours, theirs)
            assert np.asarray(ours).dtype.newbyteorder("=") == np.asarray(theirs).dtype.newbyteorder("=")


# Pickles that are refused


class Calls:
    """What makes a pickle call something when it is read."""

    def __init__(self, function, *arguments) -> None:
        self.reduced = (function, arguments)

    def __reduce__(self):
        return self.reduced


def hostile(marker: Path) -> dict[str, bytes]:
    command, code = f"touch {marker}", f"open({str(marker)!r}, 'w').close()"
    shell = Calls(os.system, command)
    by_hand = f"c%s\n%s\n(S{code!r}\ntR."
    kinds = {f"system, protocol {protocol}": pickle.dumps(shell, protocol) for protocol in range(6)}
    return kinds | {
        "eval": pickle.dumps({"train": Calls(eval, code)}),
        "exec in a list's place": pickle.dumps({"train": {**table(), "cids": Calls(exec, code)}}),
        "python 2's eval": (by_hand % ("__builtin__", "eval")).encode(),
        "inside a call that is allowed": pickle.dumps(Calls(np._core.multiarray.scalar, np.dtype("i8"), shell)),
        "in an array of objects": pickle.dumps(np.array([shell], dtype=object)),
        "as an array's state": pickle.dumps(Calls(np.ndarray, (1,), "i8", shell)),
        "a test helper of numpy": f"cnumpy.testing._private.utils\nrunstring\n(S{code!r}\n(dtR.".encode(),
        "a ufunc made on the way": pickle.dumps(Calls(np.frompyfunc, Calls(eval, code), 1, 1)),
        "instantiated": f"(S{command!r}\nios\nsystem\n.".encode(),
    }


@pytest.mark.parametrize("kind", hostile(Path("m")))
def test_a_hostile_pickle_executes_nothing(tmp_path: Path, kind: str) -> None:
    marker, file = tmp_path / "executed", tmp_path / "list.pkl"
    data = hostile(marker)[kind]
    try:
        pickle.loads(data)
    except TypeError:
        assert marker.exists()
    assert marker.exists(), "this one would do no harm: it tests nothing"
    marker.unlink()
    file.write_bytes(data)
    for read in (read_pickle, lambda file: read_sfm120k(file, tmp_path, "train")):
        with pytest.raises(DataError, match=r"list\.pkl (asks for|is no whole pickle)"):
            read(file)
    assert not marker.exists()


@pytest.mark.parametrize(
    "name",
    ["numpy ndarray.__reduce__", "numpy add", "numpy load", "numpy.core.multiarray array", "functools partial",
     "builtins getattr", "posix system", "askew_training.data.pickles Path", "collections OrderedDict"],
)  # fmt: skip
def test_no_name_is_answered_but_those_of_arrays(tmp_path: Path, name: str) -> None:
    module, attribute = name.split()
    pickled = [b"\x80\x04\x8c%c%s\x8c%c%s\x93." % (len(module), module.encode(), len(attribute), attribute.encode())]
    if "." not in attribute:
        pickled.append(f"c{module}\n{attribute}\n.".encode())
    for data in pickled:
        (tmp_path / "a.pkl").write_bytes(data)
        with pytest.raises(DataError, match=f"asks for {module}.{attribute}, .* nothing was executed"):
            read_pickle(tmp_path / "a.pkl")


def test_bytes_never_become_addresses_sizes_or_code(tmp_path: Path) -> None:
    array, kind = (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR",
        b"cnumpy\ndtype\n(S'%s'\nI0\nI1\ntR",
    )
    state = b"(I1\n(I%d\nt" + kind + b"I00\nS'AAAAAAAA'\ntb."
    (tmp_path / "good.pkl").write_bytes(array + state % (1, b"i8"))
    assert read_pickle(tmp_path / "good.pkl").tolist() == [0x4141414141414141]
    wrong = {
        "objects": array + state % (1, b"O8"),
        "records with objects": array + state % (1, b"i4,O4"),
        "too long": array + state % (2**40, b"i8"),
        "negative": array + state % (-1, b"i8"),
        "not a dtype": array + b"(I1\n(I1\ntS'O8'\nI00\nS'AAAAAAAA'\ntb.",
        "an array by size": b"cnumpy\nndarray\n(I1099511627776\ntR.",
        "state of a name": b"cnumpy.core.multiarray\nscalar\n(N}S'_make'\ncnumpy\ndtype\nstb.",
        "a codec": b"c_codecs\nencode\n(S'a'\nS'rot13'\ntR.",
        "empty": b"",
        "cut": pickle.dumps(both())[:-9],
        "text": b"landmark_id,images\n",
        "persistent": b"Pname\n.",
    }
    for name, data in wrong.items():
        (tmp_path / "wrong.pkl").write_bytes(data)
        with pytest.raises(DataError, match="is no whole pickle of plain lists"):
            print(name, read_pickle(tmp_path / "wrong.pkl"))
    with (tmp_path / "wrong.pkl").open("wb") as stream:
        stream.truncate(2**28 + 1)
    with pytest.raises(DataError, match="more than 268 MB"):
        read_pickle(tmp_path / "wrong.pkl")
    with pytest.raises(DataError, match="cannot be read: No such file"):
        read_pickle(tmp_path / "absent.pkl")
    assert read_pickle(tmp_path / "good.pkl").tolist() == [0x4141414141414141]


# retrieval-SfM-120k


def test_photos_pairs_and_paths_are_those_of_the_published_list(tmp_path: Path) -> None:
    content = both(cluster=[np.int64(each) for each in table()["cluster"]], qidxs=np.array(table()["qidxs"]))
    pairs = read_sfm120k(dumped(tmp_path, content), Path("ims"), "train")
    assert [photo.id for photo in pairs.photos] == TRAIN
    assert [photo.instance_id for photo in pairs.photos] == ["1", "1", "1", "1", "2", "2", "2", "3"]
    assert {(photo.role, photo.set_name) for photo in pairs.photos} == {("train", "sfm120k")}
    cid = "3c6ef372fe94f82be73980c0b9db9068"
    assert pairs.photos[1].path == Path("ims/68/90/db") / cid
    assert pairs.queries.dtype == np.int64
    assert (pairs.queries.tolist(), pairs.positives.tolist()) == ([0, 0, 2, 4], [1, 3, 1, 6])
    val = read_sfm120k(tmp_path / "list.pkl", Path("ims"), "val")
    assert [photo.id for photo in val.photos] == VAL


def test_pairs_for_whitening_have_no_clusters(tmp_path: Path) -> None:
    content = {"cids": np.array(CIDS), "qidxs": [0, 5, 5, 11], "pidxs": [3, 4, 5, 0]}
    pairs = read_whitening_pairs(dumped(tmp_path, content), Path("ims"))
    assert [photo.id for photo in pairs.photos] == CIDS
    assert {photo.instance_id for photo in pairs.photos} == {""}
    assert (pairs.queries.tolist(), pairs.positives.tolist()) == ([0, 5, 11], [3, 4, 0])


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"cids": TRAIN[:-1]}, "expected a cluster for each of 7 cids, got 8"),
        ({"qidxs": [0, 1]}, "expected as many pidxs as qidxs, got 5 and 2"),
        ({"pidxs": [1, 3, 1, 6, 8]}, "expected `pidxs` from 0 to 7, got 8"),
        ({"qidxs": [0, -1, 2, 4, 5]}, "expected `qidxs` from 0 to 7, got -1"),
        ({"qidxs": [0.0] * 5}, "expected integers as `qidxs`"),
        ({"qidxs": [2**70] * 5}, "expected integers as `qidxs`"),
        ({"qidxs": 5}, "expected a list as `qidxs`"),
        ({"qidxs": [[0, 1], [2]]}, "expected a list as `qidxs`"),
        ({"qidxs": [[0, 1, 2, 3, 4]]}, "expected a list as `qidxs`"),
        ({"cluster": ["1"] * 8}, "expected integers as `cluster`"),
        ({"cids": list(range(8))}, "expected texts as `cids`"),
        ({"cids": [*TRAIN[:-1], "abc"]}, "expected cids of six letters and digits or more, got 'abc'"),
        ({"cids": [*TRAIN[:-1], "../../../../secret"]}, r"expected cids of six letters and digits or more, got '\.\./"),
    ],
)
def test_another_layout_is_a_sentence(tmp_path: Path, changes: dict, sentence: str) -> None:
    with pytest.raises(DataError, match=rf"list\.pkl: {sentence}"):
        read_sfm120k(dumped(tmp_path, both(**changes)), tmp_path, "train")


def test_missing_parts_are_named(tmp_path: Path) -> None:
    without = {key: value for key, value in table().items() if key != "pidxs"}
    with pytest.raises(DataError, match=r"has no `pidxs`\. It holds: cids, cluster, qidxs"):
        read_whitening_pairs(dumped(tmp_path, without), tmp_path)
    for content in ([], table(), {"train": None}):
        with pytest.raises(DataError, match="has no split 'train'"):
            read_sfm120k(dumped(tmp_path, content), tmp_path, "train")
    with pytest.raises(DataError, match="holds no dict"):
        read_whitening_pairs(dumped(tmp_path, [1]), tmp_path)


# Pairs


def labelled(*instances: str) -> list[Photo]:
    return [Photo(Path(str(row)), instance, "train", "", "s", str(row)) for row, instance in enumerate(instances)]


def listed(count: int = 6) -> PairedPhotos:
    rows = np.arange(count)
    return PairedPhotos(tuple(labelled(*["x"] * 2 * count)), rows, rows + count)


def test_listed_pairs_come_again_only_when_all_have_come() -> None:
    random = np.random.default_rng(3)
    queries, positives = listed().draw(4, random)
    assert len(set(queries.tolist())) == 4
    assert positives.tolist() == (queries + 6).tolist()
    assert (queries.dtype, positives.dtype) == (np.int64, np.int64)
    queries, _ = listed().draw(20, random)
    assert sorted(Counter(queries.tolist()).values()) == [3, 3, 3, 3, 4, 4]
    assert queries.tolist() != sorted(queries.tolist())
    assert [rows.tolist() for rows in listed().once()] == [list(range(6)), list(range(6, 12))]


def test_the_same_seed_draws_the_same() -> None:
    for pairs in (listed(), pairs_within_instances(labelled(*"aabbbcccc"))):
        first, again, other = (pairs.draw(5, np.random.default_rng(seed)) for seed in (1, 1, 2))
        np.testing.assert_array_equal(first, again)
        assert not np.array_equal(first, other)


def test_any_mate_of_the_same_instance_is_drawn_and_all_as_often() -> None:
    photos = labelled("b", "a", "", "b", "c", "a", "b", "", "b")
    pairs = pairs_within_instances(photos)
    assert pairs.queries.tolist() == [0, 1, 3, 5, 6, 8]
    assert pairs.positives is None
    queries, positives = pairs.draw(6 * 3000, np.random.default_rng(0))
    assert set(Counter(queries.tolist()).values()) == {3000}
    counts = Counter(zip(queries.tolist(), positives.tolist(), strict=True))
    assert set(counts) == {(q, p) for q in (0, 3, 6, 8) for p in (0, 3, 6, 8) if p != q} | {(1, 5), (5, 1)}
    assert all(900 < count < 1100 for (query, _), count in counts.items() if query in (0, 3, 6, 8))
    once = pairs.once()
    assert once[0].tolist() == pairs.queries.tolist()
    assert all(photos[q].instance_id == photos[p].instance_id and q != p for q, p in zip(*once, strict=True))


def test_an_instance_of_many_photos_is_not_written_out() -> None:
    pairs = pairs_within_instances(labelled(*["tower"] * 50_000))
    queries, positives = pairs.draw(2000, np.random.default_rng(0))
    assert len(set(queries.tolist())) == 2000
    assert not (queries == positives).any()
    assert len(set(positives.tolist())) > 1900


def test_photos_that_cannot_be_used_take_their_pairs_along() -> None:
    pairs = listed(3)
    fewer = pairs.among(photo for photo in pairs.photos if photo.id not in ("1", "5"))
    assert [photo.id for photo in fewer.photos] == ["0", "2", "3", "4"]
    assert (fewer.queries.tolist(), fewer.positives.tolist()) == ([0], [2])
    mates = pairs_within_instances(labelled(*"aabbb"))
    left = mates.among(mates.photos[1:4])
    assert [left.photos[row].id for row in left.queries] == ["2", "3"]
    for none in (listed(3).among([]), pairs_within_instances(labelled("a", "b"))):
        for draw in (none.once, lambda none=none: none.draw(1, np.random.default_rng(0))):
            with pytest.raises(DataError, match="photos are known to show the same"):
                draw()


# Google Landmarks v2

SIZES = {17: 12, 4: 1, 170: 5, 9: 21}
HELD = [
    "0170000000000007", "0170000000000001", "0040000000000000", "1700000000000001",
    "0090000000000004", "0090000000000010", "009000000000000e", "009000000000000b",
]  # fmt: skip
"""What the published code (DELF's build_image_dataset.py, seed 0, a share of 0.2) holds out of these."""


def images_of(landmark: int) -> list[str]:
    return [f"{landmark:03}{number:013x}" for number in range(SIZES[landmark])]


@pytest.fixture
def clean(tmp_path: Path) -> Path:
    lines = [f"{landmark},{' '.join(images_of(landmark))}\n" for landmark in SIZES]
    (tmp_path / "train_clean.csv").write_text("landmark_id,images\n" + "".join(lines))
    return tmp_path / "train_clean.csv"


def test_both_lists_of_landmarks_are_read(clean: Path, tmp_path: Path) -> None:
    pairs = read_landmarks(clean, Path("train"), None)
    assert [photo.id for photo in pairs.photos] == [image for landmark in SIZES for image in images_of(landmark)]
    assert [photo.instance_id for photo in pairs.photos][11:14] == ["17", "4", "170"]
    assert pairs.photos[0].path == Path("train/0/1/7/0170000000000000.jpg")
    assert {(photo.role, photo.set_name) for photo in pairs.photos} == {("train", "gldv2")}
    assert len(pairs.queries) == 12 + 5 + 21
    rows = [
        f'{image},"https://upload.example/a,b.jpg",{landmark}\n' for landmark in SIZES for image in images_of(landmark)
    ]
    (tmp_path / "train.csv").write_text('"id","url","landmark_id"\n' + "".join(rows))
    assert read_landmarks(tmp_path / "train.csv", Path("train"), None).photos == pairs.photos


def test_the_split_is_the_published_one(clean: Path) -> None:
    train, val = (read_landmarks(clean, Path("train"), split) for split in ("train", "val"))
    assert {photo.id for photo in val.photos} == set(HELD)
    everything = read_landmarks(clean, Path("train"), None).photos
    assert train.photos == tuple(photo for photo in everything if photo.id not in HELD)
    assert {photo.instance_id for photo in train.photos} == {"17", "170", "9"}


def test_a_landmark_of_ten_thousand_photos_fits_on_a_line(tmp_path: Path) -> None:
    images = " ".join(f"{number:016x}" for number in range(10_000))
    (tmp_path / "train_clean.csv").write_text(f"landmark_id,images\n138982,{images}\n")
    assert len(read_landmarks(tmp_path / "train_clean.csv", tmp_path, "val").photos) == 2000


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "starts with ''"),
        ("image,label\n", "starts with 'image,label'"),
        ("landmark_id,images\n", "lists no image"),
        ("landmark_id,images\n7,abc1 abc2\n8,\n", "line 3: expected a landmark and images, got '8', ''"),
        ("landmark_id,images\n7\n", "line 2: expected a landmark and images, got '7', ''"),
        ("landmark_id,images\ntower,abc1\n", "line 2: expected a landmark and images, got 'tower', 'abc1'"),
        ("landmark_id,images\n7,abc1 ../x\n", r"line 2: expected a landmark and images, got '7', '\.\./x'"),
        ("landmark_id,images\n7,abc1 abc2\n8,abc1\n", "line 3: the image abc1 was listed before"),
        ("id,url,landmark_id\nabc1,http://x\n", "line 2: expected 3 values, id, url, landmark_id"),
        ("id,url,landmark_id\nabc1,http://x,\n", "line 2: expected a landmark and images, got '', 'abc1'"),
        ("landmark_id,images\n7,ab\udcff\n", "is no CSV file in UTF-8"),
    ],
)
def test_another_list_of_landmarks_is_a_sentence(tmp_path: Path, text: str, sentence: str) -> None:
    (tmp_path / "train.csv").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(DataError, match=rf"train\.csv,? {sentence}"):
        read_landmarks(tmp_path / "train.csv", tmp_path, None)


def test_a_list_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read: No such file"):
        read_landmarks(tmp_path / "train.csv", tmp_path, None)


# The commands


@pytest.fixture(scope="module")
def project(tmp_path_factory, network) -> Path:
    """A teacher, weights of a trunk, and both sets with their images; one of each is damaged."""
    folder = tmp_path_factory.mktemp("project")
    write_encoder(checkpoint_of(network), CARD, folder / "teacher.onnx")
    torch.save(network.branches[0].trunk.features.state_dict(), folder / "weights.pth")
    (folder / "licences.toml").write_text('[licences]\nsfm120k = "research only"\n')
    for seed, cid in enumerate(CIDS):
        save(folder / "ims" / path_of(cid), seed)
    (folder / "ims" / path_of(TRAIN[7])).write_bytes(b"no photo")
    (folder / "sfm.pkl").write_bytes(pickle.dumps(both(), 2))
    whitening = {"cids": CIDS, "qidxs": [0, 0, 2, 4, 7, 8, 10, 9], "pidxs": [1, 3, 1, 6, 5, 9, 11, 9]}
    (folder / "whiten.pkl").write_bytes(pickle.dumps(whitening, 2))
    images = ["abc1", "abd2", "xyz3"]
    for seed, image in enumerate(images):
        save(folder / "train" / image[0] / image[1] / image[2] / f"{image}.jpg", seed)
    (folder / "train_clean.csv").write_text("landmark_id,images\n5,abc1 abd2\n6,xyz3\n")
    return folder


def save(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    stream = io.BytesIO()
    Image.fromarray(picture(64, 80, seed)).save(stream, "JPEG")
    path.write_bytes(stream.getvalue())


def run(command, *arguments):
    app = typer.Typer()
    app.command()(command)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_one_cache_holds_both_splits_by_cid(project: Path, tmp_path: Path) -> None:
    arguments = ("--sfm120k", project / "sfm.pkl", "--images", project / "ims")
    done = run(cache, project / "teacher.onnx", tmp_path / "out", *arguments)
    assert done.exit_code == 0, done.exception
    assert f"{TRAIN[7]}" in done.stderr.replace("\n", "")
    assert TeacherVectors.open(tmp_path / "out").ids == tuple(TRAIN[:7] + VAL)


def test_feature_files_of_both_splits_go_by_the_same_ids(project: Path, tmp_path: Path) -> None:
    splits = [read_sfm120k(project / "sfm.pkl", project / "ims", split) for split in ("train", "val")]
    ids = [photo.id for pairs in splits for photo in pairs.photos]
    (tmp_path / "ids.txt").write_text("\n".join(ids))
    np.save(tmp_path / "features.npy", np.eye(16, 12, dtype=np.float32))
    space = "sp1-" + "0" * 32
    done = run(cache, tmp_path / "features.npy", tmp_path / "out", "--ids", tmp_path / "ids.txt", "--space", space)
    assert done.exit_code == 0, done.exception
    vectors = TeacherVectors.open(tmp_path / "out")
    assert vectors.rows([vectors.index_of(VAL[0])]).argmax() == 8


def test_landmarks_are_cached_and_checked(project: Path, tmp_path: Path) -> None:
    arguments = ("--landmarks", project / "train_clean.csv", "--images", project / "train")
    assert run(cache, project / "teacher.onnx", tmp_path / "out", *arguments).exit_code == 0
    assert TeacherVectors.open(tmp_path / "out").ids == ("abc1", "abd2", "xyz3")
    assert run(check_photos, *arguments).stdout == (
        "3 usable photos: 2 in 1 instance(s) of two or more, 1 alone in their instance, 0 without a label\n"
    )
    sfm = run(check_photos, "--sfm120k", project / "sfm.pkl", "--images", project / "ims")
    assert sfm.stdout.startswith("11 usable photos: 11 in 4 instance(s) of two or more")
    assert f"cannot be read and are left out: {TRAIN[7]}" in sfm.stderr


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--sfm120k", "sfm.pkl"), "Expected --images"),
        (("--images", "ims"), "Expected --images, the folder of the images, with either"),
        (("--sfm120k", "sfm.pkl", "--landmarks", "train_clean.csv", "--images", "ims"), "with either"),
        (("--sfm120k", "sfm.pkl", "--images", "."), "None of the first 12 photos is in"),
    ],
)
def test_a_list_and_the_folder_of_its_images_belong_together(project, tmp_path, monkeypatch, arguments, sentence):
    monkeypatch.chdir(project)
    for command in ((cache, "teacher.onnx", tmp_path / "out"), (check_photos,)):
        refused = run(*command, *arguments)
        assert isinstance(refused.exception, AskewError)
        assert sentence in str(refused.exception)
    assert not (tmp_path / "out").exists()


def test_a_whitening_is_learned_from_the_listed_pairs(project: Path, tmp_path: Path) -> None:
    made = run(
        whiten, tmp_path / "teacher.pt", "--trunk", TINY_TRUNK, "--weights", project / "weights.pth", "--method", "lw",
        "--whitening-pairs", project / "whiten.pkl", "--images", project / "ims", "--photo-size", 128, "--dim", 4,
        "--licences", project / "licences.toml", "--cache", tmp_path / "vectors",
    )  # fmt: skip
    assert made.exit_code == 0, made.exception
    checkpoint = load_checkpoint(tmp_path / "teacher.pt")
    assert "whitening to 4 of 6 pairs" in checkpoint.description.recipe
    assert [(source.name, source.photos) for source in checkpoint.description.data] == [("sfm120k", 11)]

    pooling = Network([Branch(trunk_with_weights(TINY_TRUNK, str(project / "weights.pth")))], None).eval()
    paths = [project / "ims" / path_of(cid) for cid in CIDS if cid != TRAIN[7]]
    described = describe_pooled(pooling, 128, paths, tmp_path / "vectors", lambda: None)
    vectors = np.stack([described.vectors[path] for path in paths])
    # Row 7 is damaged: those after it move up by one, and its pair is gone.
    queries, positives = np.array([0, 0, 2, 4, 7, 9]), np.array([1, 3, 1, 6, 8, 10])
    expected = learn_whitening_of_pairs(vectors, queries, positives, 4, 0.5)
    np.testing.assert_allclose(checkpoint.network.linear.weight.detach().numpy(), expected.weight, rtol=1e-4, atol=1e-6)


def test_options_for_pairs_that_make_no_sense_are_refused(project: Path, tmp_path: Path) -> None:
    start = (tmp_path / "t.pt", "--trunk", TINY_TRUNK, "--weights", project / "weights.pth")
    pairs, images = ("--whitening-pairs", project / "whiten.pkl"), ("--images", project / "ims")
    for wrong in (
        (*pairs, *images),
        ("--method", "lw", *pairs),
        ("--method", "lw", *images),
        ("--method", "lw", *pairs, *images, "--photos", project),
    ):
        refused = run(whiten, *start, "--licences", project / "licences.toml", *wrong)
        assert refused.exit_code == 2, wrong
