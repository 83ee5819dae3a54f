"""Names of parameters in other projects, and what they are called here."""

import re
from collections.abc import Callable

import numpy as np

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


# The first rule that matches the beginning of a name replaces the matched part.
RESNET: list[Rule] = [
    (r"(layer\d+\.\d+)\.conv(\d)\.", r"\1.conv\2.conv.conv_h2h."),
    (r"(layer\d+\.\d+)\.bn(\d)\.", r"\1.conv\2.bn_h."),
    (r"(layer\d+\.\d+\.downsample)\.0\.", r"\1.0.conv.conv_h2h."),
    (r"(layer\d+\.\d+\.downsample)\.1\.", r"\1.0.bn_h."),
]
DENSENET: list[Rule] = [
    (r"features\.conv0\.", "conv1_func._conv."),
    (r"features\.norm0\.", "conv1_func._batch_norm."),
    # Before torchvision 0.3, norm1 was norm.1.
    (r"features\.denseblock(\d+)\.denselayer(\d+)\.(norm|conv)\.?(\d)\.", _dense_layer),
    (r"features\.transition(\d+)\.(norm|conv)\.", _transition),
    (r"features\.norm5\.", "batch_norm."),
    (r"classifier\.", "out."),
]
VOVNET: list[Rule] = [
    (r"stem\.stem_(\d)/conv\.", lambda match: f"stem.{int(match[1]) - 1}.conv."),
    (r"stem\.stem_(\d)/norm\.", lambda match: f"stem.{int(match[1]) - 1}.bn."),
    (r"stage(\d)\.OSA\d_(\d+)\.(layers\.\d|concat)\.OSA\w+/(conv|norm)\.", _osa),
    (r"classifier\.", "fc."),
]
# The blocks of paddle.vision's MobileNetV1, in order.
_BLOCKS = ("2_1", "2_2", "3_1", "3_2", "4_1", "4_2", "5_1", "5_2", "5_3", "5_4", "5_5", "5_6", "6")


def _separable(match: re.Match) -> str:
    block, kind, part = match.groups()
    return (
        f"features.{_BLOCKS.index(block) + 1}.{int(kind == 'pointwise')}.{'bn_h' if part == '1' else 'conv.conv_h2h'}."
    )


# paddle.vision's networks that are written here once more, with an octave; the others have their own names.
PADDLE_VISION: list[Rule] = [
    *RESNET,
    (r"conv1\.([01])\.", r"features.0.\1."),
    (rf"conv({'|'.join(_BLOCKS)})\._(depthwise|pointwise)_conv\.([01])\.", _separable),
]
_AUXILIARY = r"_(conv_o|fc_o|out)[12]\."  # GoogLeNet's


def rename(name: str, rules: list[Rule]) -> str:
    """Translate a parameter name of another project."""
    name = name.removeprefix("module.")  # added by DataParallel
    for pattern, replacement in rules:
        name, count = re.subn(f"^{pattern}", replacement, name)
        if count:
            break
    return re.sub(r"running_var$", "_variance", re.sub(r"running_mean$", "_mean", name))


def from_paddle_vision(weights: dict[str, np.ndarray], network) -> dict[str, np.ndarray]:
    """Weights of a network of ``paddle.vision.models`` by the names of ``network``, if they are such.

    Left out are GoogLeNet's auxiliary classifiers. SqueezeNet's last convolution becomes a fully connected layer.

    Returns:
        ``weights`` unchanged if the names, translated, are not those of ``network``; its head may have others.
    """
    own, renamed = network.state_dict(), {}
    for old, array in weights.items():
        new = rename(old, PADDLE_VISION)
        if re.match(_AUXILIARY, old):
            continue
        if new in own and own[new].ndim == 2 and array.ndim == 4 and array.shape[2:] == (1, 1):
            array = array[:, :, 0, 0].T.copy()
        renamed[new] = array
    ours, theirs = ({name for name in state if not name.startswith(network.head_name)} for state in (own, renamed))
    return renamed if ours == theirs else weights
