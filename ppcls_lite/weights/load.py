"""Reading and writing weights as ``.pdparams`` or safetensors, and loading them into networks."""

from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

from ppcls_lite.utils.errors import UserError
from ppcls_lite.utils.files import replacing, user_path
from ppcls_lite.utils.resources import check_room
from ppcls_lite.utils.text import show
from ppcls_lite.weights import names, pickles, published

SUFFIX, SAFETENSORS = ".pdparams", ".safetensors"
SUFFIXES = (SUFFIX, SAFETENSORS)


def find_weights(path: str | Path, model: str | None = None) -> Path:
    """Find a weights file.

    Args:
        path: a file with or without its suffix (``.pdparams``, else ``.safetensors``), a run folder (``best.pdparams``,
            else ``last.pdparams``), a checkpoint folder of a run (``model.pdparams``), or, if there is a ``model``,
            ``imagenet`` for the weights that Paddle publishes of it (see :func:`published.fetch`).

    Raises:
        UserError: not found.
    """
    if model is not None and str(path) == published.NAME:
        return published.fetch(model)
    path = user_path(path)
    if path.is_dir():
        candidates = [path / f"{name}{suffix}" for name in ("best", "last", "model") for suffix in SUFFIXES]
    else:
        candidates = [path, *(Path(f"{path}{suffix}") for suffix in SUFFIXES)]
    found = next((candidate for candidate in candidates if candidate.is_file()), None)
    if found is None and path.is_dir():
        raise UserError(f"the folder {path} has no best, last or model{SUFFIX}; pass a run folder or a weights file")
    if found is None:
        raise UserError(f"there are no weights at {path}; pass a {SUFFIX} or {SAFETENSORS} file or a run folder")
    return found


def read_weights(path: str | Path) -> dict[str, np.ndarray]:
    """Read parameters and statistics by name from a weights file, without running code from it.

    Raises:
        UserError: the file is missing or damaged, or does not contain arrays by name.
    """
    path = find_weights(path)
    if path.suffix == SAFETENSORS:
        check_room(path.stat().st_size, str(path))
        return read_safetensors(path)
    state = read_state(path)
    arrays = {key: value for key, value in state.items() if isinstance(key, str) and isinstance(value, np.ndarray)}
    others = set(state) - set(arrays) - {"StructuredToParameterName@@"}
    if not arrays or others:
        raise UserError(
            f"{path} is not a weights file: expected arrays by name, found {show(sorted(map(str, others)))}"
        )
    return arrays


def read_safetensors(path: str | Path) -> dict[str, np.ndarray]:
    """Read the arrays of a safetensors file by name.

    Raises:
        UserError: the file cannot be read or is damaged, or has a type that numpy does not support (bfloat16).
    """
    try:
        return safetensors.numpy.load_file(path)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from None
    except Exception as error:  # SafetensorError; KeyError or TypeError for unsupported types
        reason = f"{type(error).__name__}: {error}"
        raise UserError(f"{path} is damaged or has an unsupported type ({reason}); save it as float32") from None


def read_state(path: str | Path) -> dict[str, Any]:
    """Read a dictionary of arrays and plain values written by ``paddle.save`` (``.pdparams``, ``.pdopt``).

    Raises:
        UserError: the file cannot be read, is damaged, or does not contain a dictionary.
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


def write_weights(weights: dict[str, np.ndarray], path: Path) -> None:
    """Write arrays by name atomically, in the format of the suffix of ``path``, one of ``SUFFIXES``."""
    with replacing(path) as temporary:
        if path.suffix == SAFETENSORS:
            safetensors.numpy.save_file({name: np.ascontiguousarray(a) for name, a in weights.items()}, temporary)
        else:
            import paddle

            paddle.save({name: paddle.to_tensor(array) for name, array in weights.items()}, str(temporary))


def load_pretrained(network, path: str | Path) -> Path:
    """Load the weights at ``path`` (see :func:`find_weights`) into ``network``.

    Returns:
        The file that was read.

    Raises:
        UserError: they cannot be read or do not fit; the network is unchanged.
    """
    path = find_weights(path)
    load_weights(network, names.from_paddle_vision(read_weights(path), network), path)
    return path


def load_initial(network, path: str | Path) -> list[str]:
    """Load the weights at ``path`` to train ``network``: all of them, or all but a head with other outputs or layers.

    Returns:
        The parameters that were not loaded, with their shapes: ``["fc.weight [64, 7]", "fc.bias [7]"]``.

    Raises:
        UserError: as :func:`load_pretrained`; the network is unchanged.
    """
    path = find_weights(path)
    own, head = network.state_dict(), f"{network.head_name}."
    weights = names.from_paddle_vision(read_weights(path), network)
    before, now = (
        {name: list(value.shape) for name, value in state.items() if name.startswith(head)} for state in (weights, own)
    )
    first, own_first = before.get(f"{head}weight"), now.get(f"{head}weight")
    if first is None or own_first is None:  # one of them has several heads, or takes a table
        is_other = bool(before) and before != now
    else:
        is_other = len(first) == 2 and first[0] == own_first[0] and first[1] != own_first[1]
    fresh = {}
    if is_other:
        fresh = {name: value.numpy() for name, value in own.items() if name.startswith(head)}
        weights = {name: value for name, value in weights.items() if not name.startswith(head)}
    load_weights(network, {**weights, **fresh}, path)
    return [f"{name} {list(value.shape)}" for name, value in fresh.items()]


def load_weights(network, weights: dict[str, np.ndarray], source: str | Path) -> None:
    """Load arrays by name into ``network``; ``source`` names them in error messages.

    Raises:
        UserError: names are missing or unexpected, or shapes or types differ; the network is unchanged.
    """
    own = network.state_dict()
    misfits = [
        f"{name} {weights[name].dtype} {list(weights[name].shape)} instead of {list(own[name].shape)}"
        for name in own
        if name in weights and (list(weights[name].shape) != list(own[name].shape) or weights[name].dtype.kind != "f")
    ]
    problems = {
        "missing": [name for name in own if name not in weights],
        "unexpected": [name for name in weights if name not in own],
        "of another shape or type": misfits,
    }
    if any(problems.values()):
        texts = [_describe(what, names) for what, names in problems.items() if names]
        raise UserError(f"{source} does not fit the network: {'; '.join(texts)}")
    network.set_state_dict({name: weights[name].astype(own[name].numpy().dtype) for name in own})


def _describe(what: str, names: list[str], most: int = 3) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{len(names)} {what} ({', '.join(name[:200] for name in names[:most])}{more})"
