"""Pickles: plain data is read, everything else is refused before it runs."""

import os
import pickle

import numpy as np
import pytest

from ppcls_lite.utils.errors import UserError
from ppcls_lite.weights import pickles


class Hostile:
    """Pickles as a call of ``function(*arguments)``."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_numeric_arrays_and_plain_containers_come_through_at_every_protocol(protocol):
    data = {
        "f": np.arange(6, dtype="float32").reshape(2, 3),
        "i": np.arange(3),
        "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "big": np.arange(4, dtype=">u2"),
        "empty": np.zeros((0, 4)),
        "plain": [1, 2.5, "text", None, True, (1, 2), {"k": b"bytes"}],
    }
    written = pickle.dumps(data, protocol=protocol)
    read, expected = pickles.loads(written, "test"), pickle.loads(written)  # old protocols lose the byte order
    assert read.pop("plain") == data.pop("plain")
    for key, array in data.items():
        np.testing.assert_array_equal(read[key], array)
        assert read[key].dtype == expected[key].dtype


def test_python_2_files_with_numpy_s_old_names_are_read():
    new = pickle.dumps({b"data": np.arange(4, dtype=np.uint8)}, protocol=2)
    old = new.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    assert old != new or b"numpy.core.multiarray" in new
    np.testing.assert_array_equal(pickles.loads(old, "test", encoding="bytes")[b"data"], np.arange(4))


@pytest.mark.parametrize(
    ("hostile", "named"),
    [
        (Hostile(os.system, "touch HACKED"), "system"),
        (Hostile(eval, "open('HACKED', 'w')"), "eval"),
        (Hostile(exec, "open('HACKED', 'w')"), "exec"),
        (Hostile(open, "HACKED", "w"), "open"),
        (Hostile(getattr, "x", "upper"), "getattr"),
        (Hostile(np.load, "x.npy", None, True), "load"),
        (Hostile(np.fromfile, "/etc/passwd"), "fromfile"),
        (Hostile(np.ndarray, (1 << 40,)), "damaged"),
        (Hostile(np.dtype, "O"), "arrays of type object"),
        (np.array([Hostile(os.system, "touch HACKED")], dtype=object), "arrays of type object"),
        (np.zeros(2, dtype=[("a", "f4")]), "arrays of type"),
        (Exception("x"), "Exception"),
    ],
)
def test_everything_else_is_refused_and_does_nothing(hostile, named, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for protocol in (2, 4):
        data = pickle.dumps({"weight": hostile}, protocol=protocol)
        with pytest.raises(UserError, match=named) as error:
            pickles.loads(data, "evil.pdparams")
        assert "evil.pdparams" in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_codecs_other_than_python_s_own_are_refused():
    import _codecs

    with pytest.raises(UserError, match="codec"):
        pickles.loads(pickle.dumps(Hostile(_codecs.encode, "x", "rot13"), protocol=2), "test")


@pytest.mark.parametrize("data", [b"", b"not a pickle", pickle.dumps(list(range(1000)))[:-20], b"\x80\x04."])
def test_damaged_pickles_are_refused(data):
    with pytest.raises(UserError, match="damaged"):
        pickles.loads(data, "test")
