"""Weights of other projects' networks under our names.

Sources of the names: d-li14/octconv.pytorch, stigma0617/VoVNet.pytorch, pytorch/vision (resnet.py, densenet.py); the
article's checkpoints are Paddle's own and carry a bias in every convolution.
"""

import pickle
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ppcls_lite.arch import build_model, model_options
from ppcls_lite.utils.errors import UserError, nearest
from ppcls_lite.weights.load import SAFETENSORS, SUFFIX, load_weights, read_safetensors, read_weights

Rule = tuple[str, str | Callable[[re.Match], str]]


def _osa(match: re.Match) -> str:
    stage, module, layer, kind = match.groups()
    place = "concat" if layer == "concat" else f"aggregation.{layer}"
    return f"stages.{int(stage) - 2}.{int(module) - 1}.{place}.{'conv' if kind == 'conv' else 'bn'}."


def _dense_layer(match: re.Match) -> str:
    block, layer, kind, number = match.groups()
    own = "_batch_norm" if kind == "norm" else "_conv"
    return f"db_conv_{int(block) + 1}.conv{int(block) + 1}_{layer}.bn_ac_func{number}.{own}."


def _transition(match: re.Match) -> str:
    own = "_batch_norm" if match[2] == "norm" else "_conv"
    return f"tr_conv{int(match[1]) + 1}_blk.conv_ac_func.{own}."


# The first rule that matches the beginning of a name replaces what it matched; a name that none matches stays.
_RESNET: list[Rule] = [
    (r"(layer\d+\.\d+)\.conv(\d)\.", r"\1.conv\2.conv.conv_h2h."),
    (r"(layer\d+\.\d+)\.bn(\d)\.", r"\1.conv\2.bn_h."),
    (r"(layer\d+\.\d+\.downsample)\.0\.", r"\1.0.conv.conv_h2h."),
    (r"(layer\d+\.\d+\.downsample)\.1\.", r"\1.0.bn_h."),
]
_DENSENET: list[Rule] = [
    (r"features\.conv0\.", "conv1_func._conv."),
    (r"features\.norm0\.", "conv1_func._batch_norm."),
    # Checkpoints from before torchvision 0.3 write norm.1 for norm1.
    (r"features\.denseblock(\d+)\.denselayer(\d+)\.(norm|conv)\.?(\d)\.", _dense_layer),
    (r"features\.transition(\d+)\.(norm|conv)\.", _transition),
    (r"features\.norm5\.", "batch_norm."),
    (r"classifier\.", "out."),
]
_VOVNET: list[Rule] = [
    (r"stem\.stem_(\d)/conv\.", lambda match: f"stem.{int(match[1]) - 1}.conv."),
    (r"stem\.stem_(\d)/norm\.", lambda match: f"stem.{int(match[1]) - 1}.bn."),
    (r"stage(\d)\.OSA\d_(\d+)\.(layers\.\d|concat)\.OSA\w+/(conv|norm)\.", _osa),
    (r"classifier\.", "fc."),
]


@dataclass(frozen=True)
class Source:
    """A project: the models whose weights it has, the rules for their names, and whether its files are Paddle's."""

    models: tuple[str, ...]
    rules: list[Rule]
    paddle: bool = False


_OCTAVE = ("oct_mobilenet", "oct_resnet26", "oct_resnet50", "oct_resnet101", "oct_resnet152", "oct_resnet200")
SOURCES = {
    "octconv.pytorch": Source(_OCTAVE, []),
    "vovnet.pytorch": Source(("vovnet27_slim", "vovnet39", "vovnet57"), _VOVNET),
    "torchvision": Source(("resnet50", "resnet101", "resnet152"), _RESNET),
    "torchvision's densenet": Source(("densenet121", "densenet161", "densenet169", "densenet201"), _DENSENET),
    "article": Source(_OCTAVE, [], paddle=True),
}


@dataclass(frozen=True)
class Converted:
    """Weights by our names, the project that they came from, and the options of the network that they fit."""

    weights: dict[str, np.ndarray]
    source: str
    options: dict[str, Any]


def convert(path: str | Path, model: str) -> Converted:
    """Read another project's checkpoint as weights of ``model``; that they fit is tried on the network.

    Args:
        path: ``.safetensors``, ``.pdparams`` (the article's), or a PyTorch checkpoint of any other suffix.
        model: a name of ``list_models()``.

    Raises:
        UserError: no such model, one that no source has, a file that cannot be read, or missing, unexpected or
            mis-shaped names.
    """
    path = Path(path)
    name, source = _find_source(model, paddle=path.suffix == SUFFIX)
    weights = {}
    for old, array in _read(path).items():
        if old.endswith("num_batches_tracked"):
            continue
        new = rename(old, source.rules)
        if new in weights:
            raise UserError(f"{path} has {new} twice, the second time as {old}; convert checkpoints of one network")
        # PyTorch's fully connected weights are [out, in], Paddle's [in, out].
        weights[new] = array.T.copy() if array.ndim == 2 and not source.paddle else array
    options: dict[str, Any] = {"num_classes": _count_classes(weights, path)}
    if any(re.search(r"conv(_h2h)?\.bias$", key) for key in weights) and "bias" in model_options(model):
        options["bias"] = True
    load_weights(build_model(model, **options), weights, path)
    return Converted(weights, name, options)


def rename(name: str, rules: list[Rule]) -> str:
    """A name of another project's as ours."""
    name = name.removeprefix("module.")  # of DataParallel
    for pattern, replacement in rules:
        renamed, count = re.subn(f"^{pattern}", replacement, name)
        if count:
            name = renamed
            break
    return re.sub(r"running_var$", "_variance", re.sub(r"running_mean$", "_mean", name))


def _find_source(model: str, paddle: bool) -> tuple[str, Source]:
    model_options(model)
    for name, source in SOURCES.items():
        if model in source.models and source.paddle == paddle:
            return name, source
    known = sorted({name for source in SOURCES.values() if source.paddle == paddle for name in source.models})
    kind = f"a {SUFFIX} file" if paddle else "a checkpoint of PyTorch's"
    raise UserError(f"no source of {kind} for {model} is known; {nearest(model, known)}")


def _count_classes(weights: dict[str, np.ndarray], path: Path) -> int:
    for name in ("fc.bias", "out.bias"):
        if name in weights and weights[name].ndim == 1:
            return len(weights[name])
    raise UserError(f"{path} has no classifier (fc or classifier), from which to tell its number of classes")


def _read(path: Path) -> dict[str, np.ndarray]:
    if not path.is_file():
        raise UserError(f"there is no file {path}; name a checkpoint")
    if path.suffix == SUFFIX:
        return read_weights(path)
    if path.suffix == SAFETENSORS:
        return read_safetensors(path)
    try:
        import torch
    except ImportError:
        raise UserError(
            f"{path} is a PyTorch checkpoint, and torch does not import; pip install -r requirements-convert.txt, or "
            f"save it elsewhere with safetensors.torch.save_file(state_dict, 'weights.safetensors')"
        ) from None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, ValueError, EOFError, KeyError, OSError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(f"{path} is no checkpoint of plain weights that PyTorch reads ({reason})") from None
    for wrapper in ("state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(wrapper), dict):
            state = state[wrapper]
    tensors = state if isinstance(state, dict) else {}
    if not tensors or not all(isinstance(value, torch.Tensor) for value in tensors.values()):
        raise UserError(f"{path} holds no state_dict: expected tensors by name")
    return {name: (value.float() if value.is_floating_point() else value).numpy() for name, value in tensors.items()}
