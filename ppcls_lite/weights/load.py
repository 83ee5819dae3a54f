"""Weights: reading and writing ``.pdparams`` and safetensors, and loading them into a network whole or not at all."""

from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

from ppcls_lite.utils.errors import UserError
from ppcls_lite.utils.files import replacing, user_path
from ppcls_lite.utils.resources import check_room
from ppcls_lite.utils.text import show
from ppcls_lite.weights import pickles

SUFFIX, SAFETENSORS = ".pdparams", ".safetensors"
SUFFIXES = (SUFFIX, SAFETENSORS)


def find_weights(path: str | Path) -> Path:
    """The weights file that ``path`` means.

    Args:
        path: a file with or without its suffix (``.pdparams``, else ``.safetensors``), a run folder (``best.pdparams``,
            else ``last.pdparams``), or a checkpoint folder of a run (``model.pdparams``).

    Raises:
        UserError: nothing there.
    """
    path = user_path(path)
    if path.is_dir():
        for name in ("best", "last", "model"):
            for suffix in SUFFIXES:
                if (path / f"{name}{suffix}").is_file():
                    return path / f"{name}{suffix}"
        raise UserError(f"the folder {path} holds no best, last or model{SUFFIX}; name a run folder or a weights file")
    for candidate in (path, *(Path(f"{path}{suffix}") for suffix in SUFFIXES)):
        if candidate.is_file():
            return candidate
    raise UserError(f"there are no weights at {path}; name a {SUFFIX} or {SAFETENSORS} file or a run folder")


def read_weights(path: str | Path) -> dict[str, np.ndarray]:
    """Parameters and statistics by name, as numpy arrays, from a weights file. Runs no code of the file's.

    Raises:
        UserError: no such file, not readable, damaged, or not a dictionary of arrays.
    """
    path = find_weights(path)
    if path.suffix == SAFETENSORS:
        check_room(path.stat().st_size, str(path))
        return read_safetensors(path)
    state = read_state(path)
    arrays = {k: value for k, value in state.items() if isinstance(k, str) and isinstance(value, np.ndarray)}
    others = set(state) - set(arrays) - {"StructuredToParameterName@@"}
    if not arrays or others:
        raise UserError(
            f"{path} is no file of weights: expected arrays by name, found {show(sorted(map(str, others)))}"
        )
    return arrays


def read_safetensors(path: str | Path) -> dict[str, np.ndarray]:
    """The arrays of a safetensors file by name.

    Raises:
        UserError: not readable, damaged, or of a type that numpy does not have (bfloat16).
    """
    try:
        return safetensors.numpy.load_file(path)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from None
    except Exception as error:  # SafetensorError, or KeyError and TypeError for types that numpy does not have
        raise UserError(
            f"{path} is damaged or not of floats that numpy has ({type(error).__name__}: {error}); save it as float32"
        ) from None


def write_weights(weights: dict[str, np.ndarray], path: Path) -> None:
    """Write arrays by name, whole or not at all; the suffix of ``path`` is one of ``SUFFIXES``."""
    with replacing(path) as temporary:
        if path.suffix == SAFETENSORS:
            safetensors.numpy.save_file({name: np.ascontiguousarray(a) for name, a in weights.items()}, temporary)
        else:
            import paddle

            # As Layer.state_dict() is saved; a name that ends in .pdparams is no must for it.
            paddle.save({name: paddle.to_tensor(array) for name, array in weights.items()}, str(temporary))


def read_state(path: str | Path) -> dict[str, Any]:
    """A dictionary of arrays and plain values, as ``paddle.save`` writes it (``.pdparams``, ``.pdopt``).

    Raises:
        UserError: not readable, damaged, or not a dictionary.
    """
    try:
        check_room(2 * Path(path).stat().st_size, str(path))
        data = Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    state = pickles.loads(data, str(path))
    if not isinstance(state, dict):
        raise UserError(f"{path} holds a {type(state).__name__}, expected parameters by name")
    return state


def load_pretrained(network, path: str | Path) -> Path:
    """Load the weights that ``path`` means (see :func:`find_weights`) into ``network``, all or none.

    Returns:
        The file that was read.

    Raises:
        UserError: missing, unexpected or mis-shaped names, with the first few of each; the network is as before.
    """
    path = find_weights(path)
    load_weights(network, read_weights(path), path)
    return path


def load_weights(network, weights: dict[str, np.ndarray], source: str | Path) -> None:
    """Load arrays by name into ``network``, all or none; ``source`` is what errors call them.

    Raises:
        UserError: missing, unexpected or mis-shaped names, with the first few of each; the network is as before.
    """
    own = network.state_dict()
    misfits = [
        f"{name} {weights[name].dtype} {list(weights[name].shape)} instead of {list(own[name].shape)}"
        for name in own
        if name in weights and (list(weights[name].shape) != list(own[name].shape) or weights[name].dtype.kind != "f")
    ]
    problems = [
        _some("missing", [name for name in own if name not in weights]),
        _some("unexpected", [name for name in weights if name not in own]),
        _some("of another shape or type", misfits),
    ]
    if any(problems):
        raise UserError(f"{source} does not fit the network: {'; '.join(filter(None, problems))}")
    network.set_state_dict({name: weights[name].astype(own[name].numpy().dtype) for name in own})


def _some(what: str, names: list[str], most: int = 3) -> str:
    if not names:
        return ""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{len(names)} {what} ({', '.join(name[:200] for name in names[:most])}{more})"
