"""Which earlier layers a layer uses: mean absolute weights between the layers of a block.

The heat map of the DenseNet paper (arXiv:1608.06993, Figure 5) and of the VoVNet paper (arXiv:1904.09730, Figure 2).
A block's sources are its input and its layers; its targets are its layers and what follows it, a transition or the
classifier.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from paddle import nn

from ppcls_lite.arch.densenet import CifarDenseNet, DenseBlock
from ppcls_lite.errors import UserError

VARIANTS = ("raw", "folded")


@dataclass(frozen=True)
class Target:
    """A layer that takes in sources ``first`` to ``last``: its weights [out, in], as they are and by input scale."""

    raw: np.ndarray
    folded: np.ndarray
    first: int
    last: int


def connectivity(network: CifarDenseNet, variant: str) -> list[np.ndarray]:
    """A map [sources, targets] for every block of a DenseNet for CIFAR or its one-shot aggregation version.

    An element is the mean absolute weight that the target has on the source's channels, divided by the largest of its
    column as in the paper; NaN where the target does not take the source in.

    Args:
        network: with trained weights; fresh ones give columns that are all the same.
        variant: ``"raw"``, or ``"folded"``: with the scale of the batch norm before the convolution,
            gamma / sqrt(variance + epsilon), multiplied into the weights. In these networks every convolution and the
            classifier follow a batch norm, whose scale the raw weights hide.

    Raises:
        UserError: a network without such blocks.
    """
    if not isinstance(network, CifarDenseNet):
        raise UserError(
            f"connectivity is that of densenet40, densenet_cifar, osa40_12x20 and osa40_5x43; "
            f"{type(network).__name__} has no such blocks"
        )
    return [_map(network, i, variant) for i in range(len(network.blocks))]


def _map(network: CifarDenseNet, index: int, variant: str) -> np.ndarray:
    block = network.blocks[index]
    layers = [_parts(layer) for layer in block.layers]
    entries = [parts[0] for parts in layers]
    widths = [_scale(entries[0].bn).size, *(parts[-1].conv.weight.shape[0] for parts in layers)]
    dense = isinstance(block, DenseBlock)
    targets = [_target(entry, 0 if dense else i, i) for i, entry in enumerate(entries)]
    targets.append(_following(network, index, len(layers)))
    bounds = np.cumsum([0, *widths])
    strengths = np.full((len(widths), len(targets)), np.nan)
    for column, target in enumerate(targets):
        weights = np.abs(getattr(target, variant))
        starts = bounds[target.first : target.last + 1] - bounds[target.first]
        assert bounds[target.last + 1] - bounds[target.first] == weights.shape[1]
        means = np.add.reduceat(weights.mean(0), starts) / widths[target.first : target.last + 1]
        strengths[target.first : target.last + 1, column] = means
    return strengths / np.nanmax(strengths, axis=0)


def _parts(layer: nn.Layer) -> list[nn.Layer]:
    """The BN-ReLU-convolutions of a layer: one, or two where it has a bottleneck."""
    return list(layer) if isinstance(layer, nn.Sequential) else [layer]


def _following(network: CifarDenseNet, index: int, last: int) -> Target:
    if index < len(network.transitions):
        return _target(network.transitions[index], 0, last)
    weights = network.fc.weight.numpy().T  # [out, in]
    return Target(weights, weights * _scale(network.bn), 0, last)


def _target(layer: nn.Layer, first: int, last: int) -> Target:
    weights = np.abs(layer.conv.weight.numpy()).mean((2, 3))  # [out, in]
    return Target(weights, weights * _scale(layer.bn), first, last)


def _scale(bn: nn.BatchNorm2D) -> np.ndarray:
    return bn.weight.numpy() / np.sqrt(bn._variance.numpy() + bn._epsilon)


def summarize(strengths: np.ndarray) -> tuple[float, float]:
    """What a map says: the mean strength of sources other than the nearest, in layers and in the last column.

    1 means that all are used alike, near 0 that only one source matters. NaN for layers that have one source only.
    """
    sources, targets = strengths.shape
    inside = [strengths[:column, column] for column in range(targets - 1)]
    earlier = np.concatenate(inside)
    earlier = earlier[~np.isnan(earlier)]
    return (float(earlier.mean()) if earlier.size else float("nan")), float(strengths[: sources - 1, -1].mean())


def draw_connectivity(names: Sequence[str], maps: Sequence[dict[str, list[np.ndarray]]]) -> Figure:
    """A row of maps for each network, raw and folded side by side, blocks from left to right.

    Args:
        names: of the networks.
        maps: by variant, of each network.
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
