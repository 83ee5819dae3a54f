"""Which earlier layers a layer uses: mean absolute weights between the layers of a block.

The heat map of the DenseNet paper (arXiv:1608.06993, Figure 5) and of the VoVNet paper (arXiv:1904.09730, Figure 2).
A block's sources are its input and its layers. Its targets are its layers and the transition or classifier after it.
"""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from paddle import nn

from ppcls_lite.arch.base import Heads
from ppcls_lite.arch.densenet import CifarDenseNet, DenseBlock
from ppcls_lite.arch.mlp import JointHead
from ppcls_lite.utils.errors import UserError

VARIANTS = ("raw", "folded")


def connectivity(network: CifarDenseNet, variant: str) -> list[np.ndarray]:
    """A map [sources, targets] for every block of a DenseNet for CIFAR or its one-shot aggregation version.

    An element is the mean absolute weight of the target on the source's channels, divided by the largest element of its
    column as in the paper; NaN if the source is not an input of the target.

    Args:
        network: with trained weights; untrained weights give uniform columns.
        variant: ``"raw"``, or ``"folded"``: weights times the scale of the batch norm before the convolution,
            gamma / sqrt(variance + epsilon). In these networks every convolution and the classifier follow a batch
            norm, whose scale is missing in the raw weights.

    Raises:
        UserError: a network without such blocks.
    """
    if not isinstance(network, CifarDenseNet):
        expected = "densenet40, densenet_cifar, osa40_12x20 or osa40_5x43"
        raise UserError(f"{type(network).__name__} has no dense blocks; expected {expected}")
    return [_map(network, i, variant) for i in range(len(network.blocks))]


def _map(network: CifarDenseNet, index: int, variant: str) -> np.ndarray:
    block, depth = network.blocks[index], len(network.blocks[index].layers)
    # A layer is one BN-ReLU-convolution, or two with a bottleneck; the first one reads the sources.
    layers = [list(layer) if isinstance(layer, nn.Sequential) else [layer] for layer in block.layers]
    widths = [int(layers[0][0].bn.weight.size), *(parts[-1].conv.weight.shape[0] for parts in layers)]
    dense = isinstance(block, DenseBlock)
    targets = [(0 if dense else i, i, _weights(parts[0].conv, parts[0].bn, variant)) for i, parts in enumerate(layers)]
    if index < len(network.transitions):
        following = network.transitions[index]
        targets.append((0, depth, _weights(following.conv, following.bn, variant)))
    else:
        targets.append((0, depth, _weights(network.fc, network.bn, variant)))
    bounds = np.cumsum([0, *widths])
    strengths = np.full((len(widths), len(targets)), np.nan)
    for column, (first, last, weights) in enumerate(targets):  # range of the target's sources
        starts = bounds[first : last + 1] - bounds[first]
        assert bounds[last + 1] - bounds[first] == weights.shape[1]
        strengths[first : last + 1, column] = np.add.reduceat(weights.mean(0), starts) / widths[first : last + 1]
    return strengths / np.nanmax(strengths, axis=0)


def _weights(layer: nn.Layer, bn: nn.BatchNorm2D, variant: str) -> np.ndarray:
    """Mean absolute weights [out, in] of a convolution or the network's head, which follows ``bn``."""
    if isinstance(layer, nn.Conv2D):
        weights = np.abs(layer.weight.numpy()).mean((2, 3))
    else:
        head = layer.images if isinstance(layer, JointHead) else layer
        parts = head.values() if isinstance(head, Heads) else [head]
        weights = np.abs(np.concatenate([part.weight.numpy() for part in parts], axis=1)).T
    scale = np.abs(bn.weight.numpy()) / np.sqrt(bn._variance.numpy() + bn._epsilon)
    return weights * scale if variant == "folded" else weights


def summarize(strengths: np.ndarray) -> tuple[float, float]:
    """The mean strength of sources other than the nearest, for layers and for the last column.

    1 means that all sources are used equally; close to 0, that only one matters. NaN if layers have a single source.
    """
    sources, targets = strengths.shape
    inside = [strengths[:column, column] for column in range(targets - 1)]
    earlier = np.concatenate(inside)
    earlier = earlier[~np.isnan(earlier)]
    return (float(earlier.mean()) if earlier.size else float("nan")), float(strengths[: sources - 1, -1].mean())


def draw_connectivity(names: Sequence[str], maps: Sequence[dict[str, list[np.ndarray]]]) -> Figure:
    """A row of maps for each network: the blocks of each variant, from left to right.

    Args:
        names: of the networks.
        maps: for each network, the maps by variant.
    """
    columns = max(sum(map(len, one.values())) for one in maps)
    figure = Figure(figsize=(2.1 * columns + 1, 2.4 * len(names) + 0.4), layout="constrained")
    axes = figure.subplots(len(names), columns, squeeze=False)
    for row, name, one in zip(axes, names, maps, strict=True):
        flat = [(variant, i, strengths) for variant in one for i, strengths in enumerate(one[variant])]
        for axis, (variant, i, strengths) in zip(row, flat, strict=True):
            image = axis.imshow(strengths, vmin=0, vmax=1, cmap="viridis", interpolation="nearest")
            axis.set_title(f"block {i + 1}, {variant}", fontsize=8)
            targets = strengths.shape[1]
            axis.set_xticks([0, targets - 1], ["1", "next"], fontsize=7)
            axis.set_yticks([0, strengths.shape[0] - 1], ["input", str(targets - 1)], fontsize=7)
        row[0].set_ylabel(f"{name}\nsource", fontsize=8)
    for axis in axes[-1]:
        axis.set_xlabel("target layer", fontsize=8)
    figure.colorbar(image, ax=axes, shrink=0.8, label="mean |w|, by column")
    return figure
