"""The reader of pickles, which executes nothing."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from askew_training.data.pickles import read_pickle
from askew_training.data.sfm120k import read_sfm120k
from askew_training.errors import DataError
from tests.support.paths import TRAINING_FIXTURES

FIXTURES = TRAINING_FIXTURES


class Calls:
    """An object whose pickle calls a function when it is read."""

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
        "exec in a list's place": pickle.dumps({"train": {"cids": Calls(exec, code)}}),
        "python 2's eval": (by_hand % ("__builtin__", "eval")).encode(),
        "inside a call that is allowed": pickle.dumps(Calls(np.int64(1).__reduce__()[0], np.dtype("i8"), shell)),
        "in an array of objects": pickle.dumps(np.array([shell], dtype=object)),
        "as an array's state": pickle.dumps(Calls(np.ndarray, (1,), "i8", shell)),
        "a test helper of numpy": f"cnumpy.testing._private.utils\nrunstring\n(S{code!r}\n(dtR.".encode(),
        "a ufunc made on the way": pickle.dumps(Calls(np.frompyfunc, Calls(eval, code), 1, 1)),
        "instantiated": f"(S{command!r}\nios\nsystem\n.".encode(),
    }


@pytest.mark.parametrize(
    ("protocol", "names"),
    [*((each, b"numpy._core") for each in range(6)), *((each, b"numpy.core") for each in range(4))],
)
def test_numbers_and_arrays_of_numpy_are_read(tmp_path: Path, protocol: int, names: bytes) -> None:
    content: dict[str, Any] = {
        "scalars": [np.int64(-3), np.float32(1.5), np.str_("é"), np.bool_(True), 7, 2.5, None, 2**70, b"\xff\x00"],
        "arrays": [np.arange(6).reshape(2, 3), np.array([[1.5], [2.5]], order="F"), np.array(["a", "bc"])],
        "others": (np.array([1, 258], ">i4"), np.array([b"ab"]), np.zeros(0, np.uint8), [[]]),
    }
    # The names of NumPy 2, or of NumPy 1; not from protocol 4 on, which also states their length.
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(content, protocol).replace(b"numpy._core", names))
    back: Any = read_pickle(tmp_path / "a.pkl")
    assert back["scalars"] == content["scalars"]
    assert [type(value) for value in back["scalars"]] == [type(value) for value in content["scalars"]]
    for key in ("arrays", "others"):
        for ours, theirs in zip(back[key], content[key], strict=True):
            np.testing.assert_array_equal(ours, theirs)
            assert np.asarray(ours).dtype.newbyteorder("=") == np.asarray(theirs).dtype.newbyteorder("=")


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
        with pytest.raises(DataError, match=r"list\.pkl (asks for|is not a complete pickle)"):
            read(file)
    assert not marker.exists()


@pytest.mark.parametrize(
    "name",
    ["numpy ndarray.__reduce__", "numpy add", "numpy load", "numpy.core.multiarray array", "functools partial",
     "builtins getattr", "posix system", "askew_training.data.pickles Path", "collections OrderedDict"],
)  # fmt: skip
def test_only_names_of_arrays_are_resolved(tmp_path: Path, name: str) -> None:
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
    assert np.asarray(read_pickle(tmp_path / "good.pkl")).tolist() == [0x4141414141414141]
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
        "cut": pickle.dumps({"cids": ["a", "b"], "qidxs": [0, 1]})[:-9],
        "text": b"landmark_id,images\n",
        "persistent": b"Pname\n.",
    }
    for name, data in wrong.items():
        (tmp_path / "wrong.pkl").write_bytes(data)
        with pytest.raises(DataError, match="is not a complete pickle of plain lists"):
            print(name, read_pickle(tmp_path / "wrong.pkl"))
    with (tmp_path / "wrong.pkl").open("wb") as stream:
        stream.truncate(2**28 + 1)
    with pytest.raises(DataError, match="more than 268 MB"):
        read_pickle(tmp_path / "wrong.pkl")
    with pytest.raises(DataError, match="cannot be read: No such file"):
        read_pickle(tmp_path / "absent.pkl")
    assert np.asarray(read_pickle(tmp_path / "good.pkl")).tolist() == [0x4141414141414141]
