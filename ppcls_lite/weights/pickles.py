"""Reading pickles that hold data and nothing else.

CIFAR's batches, ``.pdparams`` and ``.pdopt`` are pickles, and a pickle can run any code. The reader here builds plain
containers, text, numbers and numpy arrays, and refuses every other global before it is looked up. What would crash the
interpreter is refused before anything is built.
"""

import io
import pickle
import pickletools
from typing import Any, ClassVar

import numpy as np

from ppcls_lite.utils.errors import UserError


def loads(data: bytes, source: str, *, encoding: str = "ASCII") -> Any:
    """The object in a pickle of plain data.

    Args:
        data: the pickle.
        source: what to call it in errors.
        encoding: how Python 2's strings are read; ``"bytes"`` for CIFAR.

    Raises:
        UserError: damaged, or holding anything but containers, text, numbers and numeric arrays.
    """
    try:
        _check_steps(data)
        return _DataUnpickler(data, encoding).load()
    except _Refused as error:
        raise UserError(f"{source} asks for {error}, which data has no need of; it was not read") from None
    except Exception as error:  # a damaged pickle raises nearly anything
        raise UserError(f"{source} is damaged or no pickle of plain data ({type(error).__name__}: {error})") from None


class _Refused(pickle.UnpicklingError):
    pass


# Tuples nested deeper than about 100,000 overflow the interpreter's stack when they are hashed. The largest file of a
# network here (Oct-ResNet-200 with Adam) makes 25,000 tuples in all, by 180,000 steps; a step may take 200 bytes.
MOST_TUPLES, MOST_STEPS = 60_000, 2_000_000


def _check_steps(data: bytes) -> None:
    tuples = 0
    for step, (opcode, _, _) in enumerate(pickletools.genops(data), 1):
        tuples += opcode.name.startswith("TUPLE")
        if tuples > MOST_TUPLES:
            raise _Refused(f"more than {MOST_TUPLES} tuples")
        if step > MOST_STEPS:
            raise _Refused(f"more than {MOST_STEPS} steps")


# The one in Python: that in C makes room for a memo of any size, and does not let states be looked at.
class _DataUnpickler(pickle._Unpickler):
    def __init__(self, data: bytes, encoding: str):
        super().__init__(io.BytesIO(data), encoding=encoding)
        # Each byte of the file may be copied twice, as text that stands for bytes and into an array: what stands there
        # once and is asked for again and again would take any memory.
        self._copies_left = 2 * len(data)

    def load_build(self) -> None:
        self._check_state(self.stack[-2], self.stack[-1])
        super().load_build()

    dispatch: ClassVar = {**pickle._Unpickler.dispatch, pickle.BUILD[0]: load_build}

    def find_class(self, module: str, name: str) -> Any:
        # numpy renamed its core package in 2.0; both names occur in files.
        key = (module.replace("numpy._core", "numpy.core"), name)
        if key == ("_codecs", "encode"):
            return self._latin1
        found = _ALLOWED.get(key)
        if found is None:
            raise _Refused(f"{module}.{name}")
        return found

    def _check_state(self, target: Any, state: Any) -> None:
        """Refuse all states but those of numeric types and new arrays: others point numpy at memory of others."""
        if isinstance(target, np.dtype):
            # version, byte order, no subtype, names or fields, size and alignment of the type, no flags, no metadata
            byte_order, rest = state[1], state[2:]
            usual = byte_order in ("<", ">", "|", b"<", b">", b"|") and rest == (None, None, None, -1, -1, 0)
        else:  # version, shape, type, order, data; an array that has its data may be shared, and would let go of them
            usual = type(target) is np.ndarray and target.shape == (0,)
            usual = usual and isinstance(state[2], np.dtype) and isinstance(state[4], bytes)
        if not usual:
            raise _Refused("a numeric type, an array or an object of an unusual state")
        if isinstance(target, np.ndarray):
            self._count_copy(len(state[4]))

    def _latin1(self, text: Any, encoding: Any) -> bytes:
        """``_codecs.encode``: how Python 3 writes bytes in protocol 2."""
        if encoding not in ("latin1", b"latin1"):
            raise _Refused(f"the codec {encoding!r}")
        self._count_copy(len(text))
        return text.encode("latin1")

    def _count_copy(self, size: int) -> None:
        self._copies_left -= size
        if self._copies_left < 0:
            raise _Refused("the same bytes again and again")


def _empty_array(subtype: Any, shape: tuple, _typecode: Any) -> np.ndarray:
    """``numpy.core.multiarray._reconstruct``: pickled arrays start empty, and their state follows."""
    if subtype is not _NDARRAY or shape != (0,):
        raise _Refused("an unusual array")
    return np.ndarray.__new__(np.ndarray, (0,), "b")


def _array_from_buffer(buffer: Any, dtype: np.dtype, shape: tuple, order: str) -> np.ndarray:
    """``numpy.core.numeric._frombuffer``: arrays in pickle protocol 5."""
    if type(buffer) not in (bytes, bytearray) or not isinstance(dtype, np.dtype):
        raise _Refused("an array of an unusual buffer or type")
    return np.frombuffer(buffer, dtype=dtype).reshape(shape, order=order)


def _numeric_dtype(text: Any, _align: Any = False, _copy: Any = True) -> np.dtype:
    # A copy, since the byte order follows as state, and would be set on numpy's own type.
    dtype = np.dtype(text.decode("ascii") if isinstance(text, bytes) else text, copy=True)
    if dtype.kind not in "biufc":
        raise _Refused(f"arrays of type {dtype}")
    return dtype


# Stands for the array class where a pickle names it; not callable, so that a pickle cannot ask for memory with it.
_NDARRAY = object()

_ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"): _empty_array,
    ("numpy.core.numeric", "_frombuffer"): _array_from_buffer,
    ("numpy", "ndarray"): _NDARRAY,
    ("numpy", "dtype"): _numeric_dtype,
    ("__builtin__", "bytes"): lambda: b"",  # ``bytes()``: how Python 3 writes empty bytes in protocol 2
}
