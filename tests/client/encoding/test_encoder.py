"""The Encoder: the same vector for every form of a photo, and an error that says what to do for everything else."""

from __future__ import annotations

import multiprocessing
import pickle
import shutil
import subprocess
import sys
from collections.abc import Generator, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from importlib import metadata
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper
from PIL import Image

from askew_client import Encoder
from askew_client.contract.manifest import golden_text
from askew_client.encoding.engines import refuse_several
from askew_client.encoding.photos import Photo, read_photo
from askew_client.errors import (
    DamagedEncoder,
    EncoderFailed,
    EngineMissing,
    NotAnEncoder,
    PhotoError,
    PhotoTooThin,
    UnreadablePhoto,
)
from tests.support.hard_encoders import Fault, make_hard_encoder, marked_photo, plain_photo
from tests.support.small_encoders import make_encoder, sealed, space_of

BLOCK_ENGINE = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Blocker())
"""


@pytest.fixture(scope="module")
def teacher(teacher_file: Path) -> Encoder:
    return Encoder(teacher_file, threads=1)


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("fault", ["nan", "infinite", "zeros", "long"])
def test_a_vector_that_is_not_of_length_1_is_an_error_about_its_photo(tmp_path: Path, fault: Fault) -> None:
    encoder = Encoder(make_hard_encoder(tmp_path / "hard.onnx", fault), threads=1)
    with pytest.raises(
        EncoderFailed, match=r"hard.onnx describes a photo of 160 × 120 px by .*Expected a vector of length 1"
    ):
        encoder.encode(marked_photo())
    found = list(encoder.encode_stream([plain_photo(), marked_photo()], workers=1))
    assert isinstance(found[0], np.ndarray) and isinstance(found[1], PhotoError)
    always = Encoder(make_hard_encoder(tmp_path / "always.onnx", fault, always=True), threads=1)
    if fault == "long":
        assert max(always.golden_distances().values()) < 1e-6
        return
    assert set(always.golden_distances().values()) == {2.0}
    with pytest.raises(DamagedEncoder, match=r"does not compute its own golden vectors .* off by 2\.00e\+00"):
        always.check_golden()


def test_vectors_are_float32_of_unit_length(teacher: Encoder, photos: list[Path]) -> None:
    vectors = teacher.encode(photos)
    assert vectors.dtype == np.float32
    assert vectors.shape == (len(photos), 64)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-5)


def test_path_text_bytes_image_and_array_agree(teacher: Encoder, photos: list[Path]) -> None:
    path = photos[0]
    with Image.open(path) as image:
        vectors = teacher.encode([path, str(path), path.read_bytes(), image, read_photo(path)])
    assert (vectors == vectors[0]).all()


def test_one_at_a_time_equals_a_list_to_the_bit(teacher: Encoder, photos: list[Path]) -> None:
    one_at_a_time = np.stack([teacher.encode(photo) for photo in photos])
    assert np.array_equal(one_at_a_time, teacher.encode(photos))
    assert np.array_equal(one_at_a_time, teacher.encode(tuple(photos)))


def test_no_photos_give_no_vectors(teacher: Encoder) -> None:
    assert teacher.encode([]).shape == (0, 64)


def test_one_photo_gives_one_vector_and_a_list_gives_rows(teacher: Encoder, photos: list[Path]) -> None:
    path = photos[0]
    with Image.open(path) as image:
        forms: list[Photo] = [path, str(path), path.read_bytes(), image, read_photo(path)]
        for form in forms:
            alone = teacher.encode(form)
            assert alone.shape == (64,)
            assert alone.dtype == np.float32
            for several in ([form], (form,)):
                assert teacher.encode(several).shape == (1, 64)
                assert np.array_equal(teacher.encode(several)[0], alone)
    for wrong in (3, None, 1.5, object()):
        with pytest.raises(UnreadablePhoto, match="Expected a photo"):
            teacher.encode(wrong)  # type: ignore[call-overload]


def test_manifest_and_space_are_those_of_the_file(teacher: Encoder, teacher_file: Path) -> None:
    assert teacher.manifest.encoder_id == "teacher@1"
    assert teacher.space_id == space_of(teacher_file)


def test_the_golden_vectors_are_computed(teacher: Encoder) -> None:
    assert set(teacher.check_golden()) == {"large", "small", "thin"}


def test_a_file_that_records_other_golden_vectors_is_damaged(teacher_file: Path, tmp_path: Path) -> None:
    other = np.zeros(64, dtype=np.float32)
    other[0] = 1
    manifest = Encoder(teacher_file).manifest
    for golden, sentence in [
        ({"small": golden_text(other)}, "'small' is off by"),
        ({"moon": golden_text(other)}, "moon"),
    ]:
        changed = manifest.model_copy(update={"golden": golden})
        path = tmp_path / "other.onnx"
        path.write_bytes(sealed(onnx.load(teacher_file), changed.to_metadata()))
        with pytest.raises(DamagedEncoder, match=sentence):
            Encoder(path).check_golden()


def test_a_small_student_lands_in_its_teachers_space(teacher: Encoder, student_file: Path, photos: list[Path]) -> None:
    student = Encoder(student_file)
    assert student.space_id == teacher.space_id
    assert (student.encode(photos) * teacher.encode(photos)).sum(axis=1).mean() > 0.95


def test_photos_that_cannot_be_described_are_refused(teacher: Encoder, tmp_path: Path) -> None:
    with pytest.raises(UnreadablePhoto):
        teacher.encode(b"not a photo")
    with pytest.raises(PhotoTooThin):
        teacher.encode(np.zeros((4, 3000, 3), np.uint8))
    with pytest.raises(TypeError, match="Expected a path"):
        teacher.encode([3])  # type: ignore[list-item]


def test_several_threads_get_the_same_vectors(teacher: Encoder, photos: list[Path]) -> None:
    with ThreadPoolExecutor(4) as pool:
        threaded = np.stack(list(pool.map(teacher.encode, photos)))
    assert np.array_equal(threaded, teacher.encode(photos))


def test_a_stream_keeps_the_order_and_reports_errors_in_place(teacher: Encoder, photos: list[Path]) -> None:
    mixed: list[Photo] = [photos[0], b"not a photo", *photos[1:], Path("missing.jpg")]
    found = list(teacher.encode_stream(mixed, workers=3))
    assert len(found) == len(mixed)
    assert isinstance(found[1], UnreadablePhoto)
    assert isinstance(found[-1], UnreadablePhoto)
    described = [vector for vector in found if not isinstance(vector, PhotoError)]
    assert np.array_equal(np.stack(described), teacher.encode(photos))


def test_a_stream_that_is_closed_reads_no_more_photos(teacher: Encoder, photos: list[Path]) -> None:
    taken = []

    def endless() -> Iterator[Photo]:
        while True:
            taken.append(1)
            yield photos[0]

    stream = teacher.encode_stream(endless(), workers=2)
    next(stream)
    assert isinstance(stream, Generator)
    stream.close()
    assert len(taken) <= 7


def test_an_encoder_pickles_as_its_path_manifest_and_options(teacher_file: Path, photos: list[Path]) -> None:
    encoder = Encoder(teacher_file, threads=1, max_pixels=1_000_000)
    again = pickle.loads(pickle.dumps(encoder))
    assert len(pickle.dumps(encoder)) < teacher_file.stat().st_size / 4
    assert (again.path, again.max_pixels, again.space_id) == (teacher_file, 1_000_000, encoder.space_id)
    np.testing.assert_array_equal(again.encode(photos[0]), encoder.encode(photos[0]))
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        np.testing.assert_array_equal(pool.submit(encoder.encode, photos[1]).result(), encoder.encode(photos[1]))


def test_a_pickled_encoder_refuses_another_file_when_it_describes(
    teacher_file: Path, student_file: Path, photos: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not before: a worker of multiprocessing.Pool that cannot read its task ends, and the task is waited for for ever."""
    shutil.copy(teacher_file, tmp_path / "encoder.onnx")
    monkeypatch.chdir(tmp_path)
    encoder = Encoder("encoder.onnx", threads=1)
    monkeypatch.undo()
    shutil.copy(student_file, tmp_path / "encoder.onnx")
    again = pickle.loads(pickle.dumps(encoder))
    assert again.space_id == encoder.space_id
    with pytest.raises(DamagedEncoder, match="is another file than the one that this encoder was opened from"):
        again.encode(photos[0])
    (tmp_path / "encoder.onnx").unlink()
    with multiprocessing.get_context("spawn").Pool(1) as pool, pytest.raises(NotAnEncoder, match="cannot be read"):
        pool.apply_async(encoder.encode, (photos[0],)).get(timeout=60)


def test_vectors_are_not_the_engines_memory(teacher: Encoder, photos: list[Path]) -> None:
    """To give that back takes the engine's lock, which a thread may hold whom a forked process does not have."""
    described = [teacher.encode(photos[0]), teacher.encode(photos[:1]), *teacher.encode_stream(photos[:2], workers=2)]
    assert all(isinstance(vector, np.ndarray) and vector.flags.owndata for vector in described)


def test_what_the_engine_raises_is_a_sentence_and_costs_one_photo_of_many(tmp_path: Path) -> None:
    encoder = Encoder(make_hard_encoder(tmp_path / "hard.onnx", "exception"))
    with pytest.raises(
        EncoderFailed, match=r"cannot describe a photo of 160 × 120 px: onnxruntime reports .*data bounds"
    ):
        encoder.encode(marked_photo())
    sent = [plain_photo(1), marked_photo(2), plain_photo(3)]
    first, failed, last = encoder.encode_stream(sent, workers=2)
    assert isinstance(failed, PhotoError) and not isinstance(first, PhotoError) and not isinstance(last, PhotoError)
    assert "onnxruntime reports" in str(failed)
    assert not isinstance(first, PhotoError)
    assert not isinstance(last, PhotoError)
    np.testing.assert_array_equal(np.stack([first, last]), encoder.encode([sent[0], sent[2]]))


def test_a_file_that_onnxruntime_cannot_load_is_refused(teacher_file: Path, tmp_path: Path) -> None:
    model = onnx.load(teacher_file)
    manifest = Encoder(teacher_file).manifest.to_metadata()
    model.graph.node[0].op_type = "NoSuchOperator"
    path = tmp_path / "broken.onnx"
    path.write_bytes(sealed(model, manifest))
    with pytest.raises(NotAnEncoder, match="cannot be loaded by onnxruntime"):
        Encoder(path)


def test_a_graph_with_other_inputs_and_outputs_is_refused(teacher_file: Path, tmp_path: Path) -> None:
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "other",
        [helper.make_tensor_value_info("x", 1, [1])],
        [helper.make_tensor_value_info("y", 1, [1])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    path = tmp_path / "other.onnx"
    path.write_bytes(sealed(model, Encoder(teacher_file).manifest.to_metadata()))
    with pytest.raises(NotAnEncoder, match="to have an input `image`"):
        Encoder(path)


def test_without_onnxruntime_the_error_names_the_extra(teacher_file: Path) -> None:
    blocked = BLOCK_ENGINE.format(blocked=["onnxruntime"])
    result = run_python(f"{blocked}\nfrom askew_client import Encoder\nEncoder({str(teacher_file)!r})")
    assert "EngineMissing: No onnxruntime is installed" in result.stderr
    assert "pip install onnxruntime" in result.stderr


def test_two_builds_of_an_engine_are_refused() -> None:
    with pytest.raises(
        EngineMissing, match=r"numpy and pillow are both installed.*pip uninstall -y numpy pillow\. Hint\."
    ):
        refuse_several(("numpy", "no-such-build", "pillow"), "Hint.")
    refuse_several(("numpy", "no-such-build"), "Hint.")


def test_an_encoder_refuses_two_builds_of_onnxruntime(teacher_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "version", lambda _name: "1.0")
    with pytest.raises(EngineMissing, match="onnxruntime and onnxruntime-gpu are both installed"):
        Encoder(teacher_file)


def test_the_client_imports_no_engine_and_no_server() -> None:
    code = "import sys, askew_client; print([m for m in ('onnxruntime','torch','faiss','fastapi') if m in sys.modules])"
    assert run_python(code).stdout.strip() == "[]"


@pytest.mark.slow
def test_the_small_encoders_of_the_tests_can_miss_the_space(
    tmp_path: Path, teacher: Encoder, photos: list[Path]
) -> None:
    """What admission must refuse: encoders with the right space id and golden vectors, and wrong vectors."""
    permuted = make_encoder(tmp_path / "permuted.onnx", role="student", permuted=True)
    random = make_encoder(tmp_path / "random.onnx", role="student", seed=1, space_id=teacher.space_id)
    for path in (permuted, random):
        encoder = Encoder(path)
        encoder.check_golden()
        assert encoder.space_id == teacher.space_id
        assert abs((encoder.encode(photos) * teacher.encode(photos)).sum(axis=1).mean()) < 0.3
