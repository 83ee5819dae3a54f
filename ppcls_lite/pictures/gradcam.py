"""Grad-CAM: which places of an image raise an output of a network.

Paper: Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization",
arXiv:1610.02391 (section 3, eq. 1 and 2).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import paddle
from matplotlib.figure import Figure
from paddle import Tensor, nn
from paddle.nn import functional as F

from ppcls_lite.utils.text import escape


@dataclass(frozen=True)
class Explanation:
    """An image uint8 [C, H, W] with its name, the network's prediction, the explained output, and its maps.

    Maps are [H, W], relative to their largest value; a map is 0 everywhere if no place raises the output.
    """

    name: str
    image: np.ndarray
    prediction: str
    output: str
    maps: dict[str, np.ndarray]


def grad_cam(
    network: nn.Layer, image: Tensor, choose: Callable[[np.ndarray], int], table: Tensor | None = None
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The outputs of a network in evaluation mode for an image, and the maps of the output that ``choose`` selects.

    A map is relu(sum of channels times their weights), where the weight of a channel is the mean over positions of the
    output's gradient with respect to it.

    Args:
        image: normalized, [1, C, H, W] of the network's input size.
        choose: selects an output by index, from the outputs [outputs].
        table: the row [1, table_width] of a network that takes one.

    Returns:
        The outputs [outputs], and maps by name at the resolution of the features: ``last stage``, and for octave
        networks ``stage N high`` and ``stage N low``, the branches of the last stage that has a low branch.
    """
    image.stop_gradient = False  # gradients must reach all stages of a network whose parameters are frozen
    features = network.forward_features(image)
    outputs = network.forward_head(network.pool_features(features[-1]), table)[0]
    layers = {"last stage": features[-1]}
    octave = [(number, pair) for number, pair in enumerate(features, 1) if isinstance(pair, tuple)]
    if octave:
        number, pair = octave[-1]
        named = zip(("high", "low"), pair, strict=True)
        layers |= {f"stage {number} {name}": branch for name, branch in named if branch is not None}
    values = outputs.numpy()
    gradients = paddle.grad(outputs[choose(values)], list(layers.values()))
    with paddle.no_grad():
        weights = [gradient.mean(axis=[2, 3], keepdim=True) for gradient in gradients]
        pairs = zip(layers.items(), weights, strict=True)
        return values, {name: F.relu((weight * layer).sum(axis=1))[0].numpy() for (name, layer), weight in pairs}


def enlarge(values: np.ndarray, height: int, width: int) -> np.ndarray:
    """A map relative to its largest value, bilinear at the size of the image: [h, w] -> [height, width] in [0, 1]."""
    relative = paddle.to_tensor(values / values.max() if values.max() > 0 else values)
    return F.interpolate(relative[None, None], size=[height, width], mode="bilinear")[0, 0].numpy()


def draw_explanations(explanations: Sequence[Explanation], title: str) -> Figure:
    """A row for each image: the image with its caption, then the maps over it, from blue (0) to red (1)."""
    names = list(explanations[0].maps)
    figure = Figure(figsize=(2.6 * (1 + len(names)), 2.9 * len(explanations) + 0.4), layout="constrained")
    axes = figure.subplots(len(explanations), 1 + len(names), squeeze=False)
    for row, one in zip(axes, explanations, strict=True):
        pixels = one.image.transpose(1, 2, 0)
        pixels = pixels[..., 0] if pixels.shape[2] == 1 else pixels
        captions = [(one.name, one.prediction), *((name, one.output) for name in names)]
        for axis, lines in zip(row, captions, strict=True):
            axis.imshow(pixels, cmap="gray", vmin=0, vmax=255)
            axis.set_title("\n".join(map(escape, lines)), fontsize=7, parse_math=False)
            axis.axis("off")
        for axis, name in zip(row[1:], names, strict=True):
            axis.imshow(one.maps[name], cmap="jet", vmin=0, vmax=1, alpha=0.5)
    figure.suptitle(title, fontsize=9, parse_math=False)
    return figure
