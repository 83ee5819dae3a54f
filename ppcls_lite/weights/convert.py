"""Conversion of other projects' weights: renames parameters and transposes fully connected layers.

Supported are d-li14/octconv.pytorch, stigma0617/VoVNet.pytorch, pytorch/vision (resnet.py, densenet.py), and the
article's checkpoints, which are Paddle files and have a bias in all convolutions.
"""

import pickle
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ppcls_lite.config.catalog import MODELS
from ppcls_lite.utils.errors import UserError, nearest
from ppcls_lite.weights import names
from ppcls_lite.weights.load import SAFETENSORS, SUFFIX, load_weights, read_safetensors, read_weights


@dataclass(frozen=True)
class Source:
    """A project: the models it has weights of, the rules for their names, and whether its files are Paddle files."""

    models: tuple[str, ...]
    rules: list[names.Rule]
    paddle: bool = False


_OCTAVE = ("oct_mobilenet", "oct_resnet26", "oct_resnet50", "oct_resnet101", "oct_resnet152", "oct_resnet200")
SOURCES = {
    "octconv.pytorch": Source(_OCTAVE, []),
    "vovnet.pytorch": Source(("vovnet27_slim", "vovnet39", "vovnet57"), names.VOVNET),
    "torchvision": Source(("resnet50", "resnet101", "resnet152"), names.RESNET),
    "torchvision's densenet": Source(("densenet121", "densenet161", "densenet169", "densenet201"), names.DENSENET),
    "article": Source(_OCTAVE, [], paddle=True),
}


@dataclass(frozen=True)
class Converted:
    """Weights by our names, the project they are from, and the options of the network they fit."""

    weights: dict[str, np.ndarray]
    source: str
    options: dict[str, Any]


def convert(path: str | Path, model: str) -> Converted:
    """Read another project's checkpoint as weights of ``model``, and check that they fit the network.

    Args:
        path: a ``.safetensors`` file, a ``.pdparams`` file (of the article), or a PyTorch checkpoint of any suffix.
        model: one of ``list_models()``.

    Raises:
        UserError: the model is unknown or not supported, or the file cannot be read or does not fit it.
    """
    path = Path(path)
    name, source = _find_source(model, paddle=path.suffix == SUFFIX)
    weights = {}
    for old, array in _read(path).items():
        if old.endswith("num_batches_tracked"):
            continue
        new = names.rename(old, source.rules)
        if new in weights:
            raise UserError(f"{path} has {new} twice, also as {old}; expected the checkpoint of a single network")
        # PyTorch's fully connected weights are [out, in], Paddle's [in, out].
        weights[new] = array.T.copy() if array.ndim == 2 and not source.paddle else array
    options: dict[str, Any] = {"num_classes": _count_classes(weights, path)}
    if any(re.search(r"conv(_h2h)?\.bias$", key) for key in weights) and "bias" in MODELS.entry(model).options:
        options["bias"] = True
    load_weights(MODELS.factory(model)(**options), weights, path)
    return Converted(weights, name, options)


def _find_source(model: str, paddle: bool) -> tuple[str, Source]:
    MODELS.entry(model)  # raises for an unknown model
    for name, source in SOURCES.items():
        if model in source.models and source.paddle == paddle:
            return name, source
    known = sorted({name for source in SOURCES.values() if source.paddle == paddle for name in source.models})
    kind = f"{SUFFIX} files" if paddle else "PyTorch checkpoints"
    raise UserError(f"{kind} of {model} are not supported; {nearest(model, known)}")


def _count_classes(weights: dict[str, np.ndarray], path: Path) -> int:
    for name in ("fc.bias", "out.bias"):
        if name in weights and weights[name].ndim == 1:
            return len(weights[name])
    raise UserError(f"{path} has no classifier (fc or classifier), so its number of classes is unknown")


def _read(path: Path) -> dict[str, np.ndarray]:
    if not path.is_file():
        raise UserError(f"there is no file {path}; pass a checkpoint")
    if path.suffix == SUFFIX:
        return read_weights(path)
    if path.suffix == SAFETENSORS:
        return read_safetensors(path)
    try:
        import torch
    except ImportError:
        raise UserError(
            f"{path} needs torch, which cannot be imported; pip install -r requirements-convert.txt, or "
            f"save it elsewhere with safetensors.torch.save_file(state_dict, 'weights.safetensors')"
        ) from None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, ValueError, EOFError, KeyError, OSError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(f"{path} is not a checkpoint of plain weights that PyTorch can read ({reason})") from None
    for wrapper in ("state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(wrapper), dict):
            state = state[wrapper]
    tensors = state if isinstance(state, dict) else {}
    if not tensors or not all(isinstance(value, torch.Tensor) for value in tensors.values()):
        raise UserError(f"{path} has no state_dict; expected tensors by name")
    return {name: (value.float() if value.is_floating_point() else value).numpy() for name, value in tensors.items()}
