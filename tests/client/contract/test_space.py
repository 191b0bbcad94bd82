"""The space id: its value never changes, and depends on what defines a space and on nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from askew_client.contract.space import is_space_id, space_id

POOLING = {"name": "gem", "p": 3.0}


def tensors() -> dict[str, NDArray[np.float32]]:
    return {
        "trunk.weight": np.arange(6, dtype=np.float32).reshape(2, 3),
        "head.bias": np.array([0.5, -1.0], dtype=np.float32),
    }


def named(
    dim: int = 2,
    pooling: dict[str, object] = POOLING,
    whitened: bool = True,
    weights: dict[str, NDArray[np.float32]] | None = None,
) -> str:
    return space_id(dim=dim, pooling=pooling, whitened=whitened, tensors=weights or tensors())


def test_the_id_of_a_space_never_changes() -> None:
    # Published encoders carry ids that this function made.
    assert named() == "sp1-61d34436ff3d0bd4993fc5662fa67b98"


def test_the_order_of_tensors_and_of_pooling_parameters_does_not_matter() -> None:
    backwards = dict(reversed(list(tensors().items())))
    assert named(weights=backwards, pooling=dict(reversed(list(POOLING.items())))) == named()


def test_the_layout_in_memory_does_not_matter() -> None:
    weights = tensors()
    weights["trunk.weight"] = np.asfortranarray(weights["trunk.weight"])
    assert named(weights=weights) == named()
    big_endian = {name: tensor.astype(">f4").astype(np.float32) for name, tensor in tensors().items()}
    assert named(weights=big_endian) == named()


def test_everything_that_defines_a_space_changes_the_id() -> None:
    flipped, renamed, reshaped = tensors(), tensors(), tensors()
    flipped["head.bias"][0] = np.nextafter(np.float32(0.5), np.float32(1))
    renamed["head.shift"] = renamed.pop("head.bias")
    reshaped["trunk.weight"] = reshaped["trunk.weight"].reshape(3, 2)
    ids = {
        named(),
        named(dim=3),
        named(whitened=False),
        named(pooling={"name": "gem", "p": 3.5}),
        named(pooling={"name": "mean"}),
        named(weights=flipped),
        named(weights=renamed),
        named(weights=reshaped),
        named(weights={"trunk.weight": tensors()["trunk.weight"]}),
    }
    assert len(ids) == 9
    assert all(is_space_id(each) for each in ids)


def test_counters_and_other_dtypes_are_refused() -> None:
    with pytest.raises(ValueError, match="counter"):
        named(weights={"bn.num_batches_tracked": np.zeros(1, dtype=np.float32)})
    with pytest.raises(ValueError, match="float32"):
        named(weights={"w": np.zeros(1)})  # type: ignore[dict-item]


@pytest.mark.parametrize(
    "text", ["", "sp1-", "sp1-" + "0" * 31, "sp1-" + "0" * 33, "sp1-" + "G" * 32, "sp2-" + "0" * 32]
)
def test_other_texts_are_not_space_ids(text: str) -> None:
    assert not is_space_id(text)
