"""Conversion of other projects' weights: renames parameters and transposes fully connected layers.

Supported are d-li14/octconv.pytorch, stigma0617/VoVNet.pytorch, pytorch/vision (resnet.py, densenet.py),
akamaster/pytorch_resnet_cifar10, MobileNetV1 as TFLite, and the article's checkpoints, which are Paddle files and
have a bias in all convolutions.
"""

import pickle
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ppcls_lite.config.catalog import MODELS
from ppcls_lite.utils.errors import UserError, nearest
from ppcls_lite.weights import names, tensorflow_lite
from ppcls_lite.weights.load import SAFETENSORS, SUFFIX, load_weights, read_safetensors, read_weights
from ppcls_lite.weights.tensorflow_lite import identity_norm


@dataclass(frozen=True)
class Source:
    """A project: the models it has weights of, and the rules for their names.

    Its files may be Paddle files, and have to be ``complete``d by parameters that only our network has.
    """

    models: tuple[str, ...]
    rules: list[names.Rule]
    paddle: bool = False
    complete: Callable[[dict[str, np.ndarray]], None] = lambda weights: None


def _add_shortcuts(weights: dict[str, np.ndarray]) -> None:
    """Add option A's shortcuts (ResNet paper, section 4.2) as projections: every second pixel, zeros as new channels.

    pytorch_resnet_cifar10 adds half of the zeros before and half after the channels.
    """
    for stage in (2, 3):
        block = f"layer{stage}.0"
        before = weights.get(f"{block}.conv1.conv.conv_h2h.weight")
        if before is None or before.ndim != 4:
            continue  # the check against the network names what is missing
        channels_out, channels_in = before.shape[:2]
        projection = np.eye(channels_out, channels_in, -((channels_out - channels_in) // 2), dtype=np.float32)
        weights[f"{block}.downsample.0.conv.conv_h2h.weight"] = projection[:, :, None, None]
        weights |= identity_norm(f"{block}.downsample.0.bn_h", np.zeros(channels_out, np.float32))


_OCTAVE = ("oct_mobilenet", "oct_resnet26", "oct_resnet50", "oct_resnet101", "oct_resnet152", "oct_resnet200")
SOURCES = {
    "octconv.pytorch": Source(_OCTAVE, []),
    "vovnet.pytorch": Source(("vovnet27_slim", "vovnet39", "vovnet57"), names.VOVNET),
    "torchvision": Source(("resnet50", "resnet101", "resnet152"), names.RESNET),
    "torchvision's densenet": Source(("densenet121", "densenet161", "densenet169", "densenet201"), names.DENSENET),
    "pytorch_resnet_cifar10": Source(
        ("resnet20", "resnet56"), [*names.RESNET, (r"linear\.", "fc.")], complete=_add_shortcuts
    ),
    "article": Source(_OCTAVE, [], paddle=True),
}


@dataclass(frozen=True)
class Converted:
    """Weights by our names, the project they are from, and the options of the network they fit."""

    weights: dict[str, np.ndarray]
    source: str
    options: dict[str, Any]


def convert(paths: str | Path | Sequence[str | Path], model: str) -> Converted:
    """Read another project's checkpoint as weights of ``model``, and check that they fit the network.

    Args:
        paths: a ``.safetensors`` file, a ``.pdparams`` file (of the article), a PyTorch checkpoint of any other suffix,
            or one or several ``.tflite`` files that make up a network, the first layers first.
        model: one of ``list_models()``.

    Raises:
        UserError: the model is unknown or not supported, or the file cannot be read or does not fit it.
    """
    paths = [Path(path) for path in ([paths] if isinstance(paths, str | Path) else paths)]
    are_tflite = [path.suffix == tensorflow_lite.SUFFIX for path in paths]
    if len(paths) > 1 and not all(are_tflite):
        raise UserError(
            f"{', '.join(map(str, paths))} are several files, expected one, or several {tensorflow_lite.SUFFIX} files"
        )
    if are_tflite[0]:
        weights, name, options = _convert_tflite(paths, model)
    else:
        weights, name, options = _convert_checkpoint(paths[0], model)
    load_weights(MODELS.factory(model)(**options), weights, ", ".join(map(str, paths)))
    return Converted(weights, name, options)


def _convert_tflite(paths: list[Path], model: str) -> tuple[dict[str, np.ndarray], str, dict[str, Any]]:
    MODELS.entry(model)  # raises for an unknown model
    if model != "mobilenet_v1":
        raise UserError(f"{tensorflow_lite.SUFFIX} files of {model} are not supported; known: mobilenet_v1")
    weights, options = tensorflow_lite.read_mobilenet(paths)
    return weights, "TFLite", options


def _convert_checkpoint(path: Path, model: str) -> tuple[dict[str, np.ndarray], str, dict[str, Any]]:
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
    source.complete(weights)
    options: dict[str, Any] = {"num_classes": _count_classes(weights, path)}
    if any(re.search(r"conv(_h2h)?\.bias$", key) for key in weights) and "bias" in MODELS.entry(model).options:
        options["bias"] = True
    return weights, name, options


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
