"""A safe reader for pickles of plain data: CIFAR batches, ``.pdparams`` and ``.pdopt``.

A pickle can run any code. This reader creates containers, text, numbers and numeric numpy arrays only. It refuses all
other objects before they are imported, and states that would make numpy access foreign memory.
"""

import io
import pickle
import pickletools
from typing import Any, ClassVar

import numpy as np

from ppcls_lite.utils.errors import UserError

# Tuples nested more than about 100,000 deep overflow the interpreter's stack when they are hashed, and an opcode of one
# byte can allocate 200. Our largest file (Oct-ResNet-200 with Adam) has 25,000 tuples and 180,000 opcodes.
MAX_TUPLES, MAX_OPCODES = 60_000, 2_000_000


def loads(data: bytes, source: str, *, encoding: str = "ASCII") -> Any:
    """Unpickle plain data.

    Args:
        data: the pickle.
        source: name of the data in error messages.
        encoding: how to read Python 2 strings; ``"bytes"`` for CIFAR.

    Raises:
        UserError: the pickle is damaged, or contains anything but containers, text, numbers and numeric arrays.
    """
    try:
        tuples = 0
        for number, (opcode, _, _) in enumerate(pickletools.genops(data), 1):
            tuples += opcode.name.startswith("TUPLE")
            if tuples > MAX_TUPLES or number > MAX_OPCODES:
                raise _Refused(f"more than {MAX_TUPLES} tuples or {MAX_OPCODES} opcodes")
        return _DataUnpickler(data, encoding).load()
    except _Refused as error:
        raise UserError(f"{source} contains {error}, which plain data never does; it was not read") from None
    except Exception as error:  # a damaged pickle can raise nearly any exception
        raise UserError(
            f"{source} is damaged or not a pickle of plain data ({type(error).__name__}: {error})"
        ) from None


class _Refused(pickle.UnpicklingError):
    pass


class _DataUnpickler(pickle._Unpickler):  # pickle.Unpickler cannot override load_build, and its memo takes any memory
    def __init__(self, data: bytes, encoding: str):
        super().__init__(io.BytesIO(data), encoding=encoding)
        self._bytes_left = 2 * len(data)  # a short pickle can copy the same bytes very often

    def find_class(self, module: str, name: str) -> Any:
        # numpy 2.0 renamed its core package; files contain both names.
        key = (module.replace("numpy._core", "numpy.core"), name)
        if key == ("_codecs", "encode"):
            return self._encode
        if key not in _ALLOWED:
            raise _Refused(f"{module}.{name}")
        return _ALLOWED[key]

    def load_build(self) -> None:
        """Allow two states only: that of a numeric type, and the data of a new array."""
        target, state = self.stack[-2], self.stack[-1]
        if isinstance(target, np.dtype):
            # version, byte order, no subtype, no fields, default size and alignment, no flags and no metadata
            allowed = state[1] in ("<", ">", "|", b"<", b">", b"|") and state[2:] == (None, None, None, -1, -1, 0)
        elif type(target) is np.ndarray and target.shape == (0,):  # replacing data would free memory that is in use
            # version, shape, type, order, data
            allowed = isinstance(state[2], np.dtype) and isinstance(state[4], bytes)
            self._count_bytes(state[4])
        else:
            allowed = False
        if not allowed:
            raise _Refused("an object with an unusual state")
        super().load_build()

    dispatch: ClassVar = {**pickle._Unpickler.dispatch, pickle.BUILD[0]: load_build}

    def _encode(self, text: Any, encoding: Any) -> bytes:
        """``_codecs.encode``, by which Python 3 writes bytes in protocols 0 to 2."""
        if encoding not in ("latin1", b"latin1"):
            raise _Refused(f"the codec {encoding!r}")
        self._count_bytes(text)
        return text.encode("latin1")

    def _count_bytes(self, copied: bytes | str) -> None:
        self._bytes_left -= len(copied)
        if self._bytes_left < 0:
            raise _Refused("the same bytes many times")


def _reconstruct(subtype: Any, shape: tuple, _typecode: Any) -> np.ndarray:
    """``numpy.core.multiarray._reconstruct``: an empty array, whose data follow as its state."""
    if subtype is not _NDARRAY or shape != (0,):
        raise _Refused("an unusual array")
    return np.ndarray.__new__(np.ndarray, (0,), "b")


def _from_buffer(buffer: Any, dtype: np.dtype, shape: tuple, order: str) -> np.ndarray:
    """``numpy.core.numeric._frombuffer``: arrays in pickle protocol 5."""
    if type(buffer) not in (bytes, bytearray) or not isinstance(dtype, np.dtype):
        raise _Refused("an array of an unusual buffer or type")
    return np.frombuffer(buffer, dtype=dtype).reshape(shape, order=order)


def _numeric_dtype(text: Any, _align: Any = False, _copy: Any = True) -> np.dtype:
    # A copy, because the state that follows would change numpy's own type.
    dtype = np.dtype(text.decode("ascii") if isinstance(text, bytes) else text, copy=True)
    if dtype.kind not in "biufc":
        raise _Refused(f"arrays of type {dtype}")
    return dtype


_NDARRAY = object()  # stands for numpy.ndarray; it cannot be called, so a pickle cannot allocate arrays of any size

_ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy.core.numeric", "_frombuffer"): _from_buffer,
    ("numpy", "ndarray"): _NDARRAY,
    ("numpy", "dtype"): _numeric_dtype,
    ("__builtin__", "bytes"): lambda: b"",  # ``bytes()``: how Python 3 writes empty bytes in protocols 0 to 2
}
