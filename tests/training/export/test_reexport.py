"""Encoder files exported anew."""

from __future__ import annotations

import dataclasses
import errno
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from askew_client import Encoder
from askew_client.contract.encoder_file import UNSEALED, seal
from askew_client.contract.errors import DamagedEncoder
from askew_client.contract.manifest import DIGEST_KEY
from askew_training.cli.export import export
from askew_training.errors import CheckpointError, DataError, GateError
from askew_training.export import reexport
from askew_training.export.encoder_file import write_encoder
from askew_training.export.mobile import write_mobile
from askew_training.export.reexport import rewrite_encoder
from tests.support.small_encoders import make_encoder
from tests.support.training_helpers import CARD, checkpoint_of, picture, run_command, tiny_network, words


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A student with weights in bytes, written without simplification, as earlier versions did."""
    path = tmp_path_factory.mktemp("old") / "old.onnx"
    card = dataclasses.replace(CARD, role="student", precision="int8", scales=(1.0, 0.5))
    write_encoder(checkpoint_of(tiny_network(dim=256)), card, path, simplified=False)
    return path


def test_an_encoder_file_becomes_a_simpler_version_of_itself(old: Path, tmp_path: Path) -> None:
    result = run_command(export, old, tmp_path / "new.onnx", "--version", "2")
    assert result.exit_code == 0, result.output
    before, after = Encoder(old), Encoder(tmp_path / "new.onnx")
    changed = {"version", "golden"}
    assert before.manifest.model_dump(exclude=changed) == after.manifest.model_dump(exclude=changed)
    assert after.manifest.encoder_id == "tiny@2"
    after.check_golden()
    for size in ((200, 150), (64, 100)):
        np.testing.assert_allclose(after.encode(picture(*size)), before.encode(picture(*size)), atol=1e-6)
    graphs = [onnx.load(path).graph for path in (old, tmp_path / "new.onnx")]
    assert len(graphs[1].node) < len(graphs[0].node)
    assert not {"Identity", "Constant"} & {node.op_type for node in graphs[1].node}
    codes = [{t.name for t in graph.initializer if t.name.endswith("/codes")} for graph in graphs]
    assert len(codes[0]) == len(codes[1]) > 0


def test_a_second_file_of_one_version_is_refused(old: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="already version 1 of tiny"):
        rewrite_encoder(old, "1", tmp_path / "new.onnx")
    with pytest.raises(CheckpointError, match="Expected a version like 3"):
        rewrite_encoder(old, "Two Words", tmp_path / "new.onnx")
    assert not list(tmp_path.iterdir())


def test_a_damaged_file_is_not_written_anew(old: Path, tmp_path: Path) -> None:
    content = bytearray(old.read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "damaged.onnx").write_bytes(content)
    with pytest.raises(DamagedEncoder):
        rewrite_encoder(tmp_path / "damaged.onnx", "2", tmp_path / "new.onnx")
    assert not (tmp_path / "new.onnx").exists()


def test_a_graph_that_computes_something_else_is_not_written(
    old: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = make_encoder(tmp_path / "other.onnx", role="student", dim=256)
    monkeypatch.setattr(reexport, "simplify", lambda model: onnx.load(other))
    with pytest.raises(GateError, match="differs from the old one"):
        rewrite_encoder(old, "2", tmp_path / "new.onnx")
    assert not (tmp_path / "new.onnx").exists()


def test_options_that_would_change_an_encoder_are_refused(old: Path, tmp_path: Path) -> None:
    for options, message in (
        (["--version", "2", "--role", "teacher"], "--role: an encoder file keeps these properties"),
        ([], "another version of an encoder file needs --version"),
        (["--target", "mobile", "--version", "2"], "--version: an encoder file keeps"),
    ):
        result = run_command(export, old, tmp_path / "new", *options)
        assert result.exit_code == 2
        assert message in words(result.output)
    assert not list(tmp_path.iterdir())


def test_a_checkpoint_needs_its_card_and_has_no_parts(tmp_path: Path) -> None:
    result = run_command(export, tmp_path / "network.pt", tmp_path / "new.onnx", "--role", "teacher", "--version", "1")
    assert result.exit_code == 2
    assert "the export of a checkpoint needs --name and --licence" in words(result.output)
    result = run_command(export, tmp_path / "network.pt", tmp_path / "new", "--target", "mobile")
    assert result.exit_code == 2
    assert "expected an encoder file (.onnx)" in words(result.output)


def resealed(source: Path, path: Path, change: Callable[[onnx.ModelProto], None]) -> Path:
    """A foreign file: another graph, with a digest that is right."""
    model = onnx.load(source)
    change(model)
    next(entry for entry in model.metadata_props if entry.key == DIGEST_KEY).value = UNSEALED
    path.write_bytes(seal(model.SerializeToString()))
    return path


def lose_weights(model: onnx.ModelProto) -> None:
    model.graph.initializer.remove(next(each for each in model.graph.initializer if each.name.endswith("/codes")))


def rename_output(model: onnx.ModelProto) -> None:
    last = next(node for node in model.graph.node if "descriptor" in node.output)
    last.output[0] = model.graph.output[0].name = "other"


def forget_shape(model: onnx.ModelProto) -> None:
    model.graph.output[0].type.tensor_type.shape.Clear()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lose_weights, "is invalid"),
        (rename_output, "the output `descriptor`"),
        (forget_shape, r"float32 \[N, 256\]"),
    ],
)
def test_a_foreign_graph_is_one_sentence(
    old: Path, tmp_path: Path, change: Callable[[onnx.ModelProto], None], message: str
) -> None:
    foreign = resealed(old, tmp_path / "foreign.onnx", change)
    with pytest.raises(CheckpointError, match=message):
        rewrite_encoder(foreign, "2", tmp_path / "new.onnx")
    with pytest.raises(CheckpointError, match=message):
        write_mobile(foreign, tmp_path / "parts")
    assert [path.name for path in tmp_path.iterdir()] == ["foreign.onnx"]


def test_an_output_that_cannot_be_written_is_named(old: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("kept")
    for output, message in (
        (tmp_path, "it is a folder"),
        (tmp_path / "missing" / "new.onnx", "missing is not a folder"),
        (tmp_path / "file" / "new.onnx", "file is not a folder"),
    ):
        with pytest.raises(DataError, match=f"^{output} cannot be written: .*{message}"):
            rewrite_encoder(old, "2", output)
    assert (tmp_path / "file").read_text() == "kept"


def test_a_full_disk_names_the_output_and_keeps_the_old_file(
    old: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / "new.onnx").write_text("the old file")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DataError, match=r"new\.onnx cannot be written: No space left on device"):
        rewrite_encoder(old, "2", tmp_path / "new.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["new.onnx"]
    assert (tmp_path / "new.onnx").read_text() == "the old file"


def test_an_empty_option_is_refused_and_not_left_out(old: Path, tmp_path: Path) -> None:
    result = run_command(export, old, tmp_path / "new.onnx", "--version", "2", "--name", "")
    assert result.exit_code == 2
    assert "--name: an encoder file keeps these properties" in words(result.output)
