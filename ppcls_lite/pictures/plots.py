"""Pictures for the dashboard."""

from collections.abc import Sequence

import numpy as np
from paddle import nn

GRID = 1024  # largest side of a grid of images, in pixels
TILE = 64  # smaller images are magnified to about this side


def tile(images: np.ndarray) -> np.ndarray:
    """A square grid of as many images as fit into it.

    Args:
        images: float [N, C, H, W] in [0, 1], C being 1 or 3.

    Returns:
        uint8 [H', W', 3]; small images magnified without smoothing, so that their pixels can be seen.
    """
    n, c, h, w = images.shape
    zoom = max(1, TILE // max(h, w))
    side = max(1, min(int(n**0.5), GRID // (zoom * max(h, w))))
    grid = images[: side * side].reshape(side, side, c, h, w).transpose(0, 3, 1, 4, 2).reshape(side * h, side * w, c)
    grid = np.round(255 * grid.clip(0, 1)).astype(np.uint8).repeat(zoom, 0).repeat(zoom, 1)
    return np.broadcast_to(grid, (*grid.shape[:2], 3)) if c == 1 else grid


def draw_filters(network: nn.Layer) -> np.ndarray:
    """The filters of a network's first convolution, as the AlexNet paper's Figure 3 shows them.

    Each is stretched from black (its smallest weight) to white (its largest).

    Returns:
        uint8 [H, W, 3], white between the filters.
    """
    first = next(layer for layer in network.sublayers() if isinstance(layer, nn.Conv2D))
    weights = first.weight.numpy()  # [N, C, k, k]
    low, high = (reduce(weights, axis=(1, 2, 3), keepdims=True) for reduce in (np.min, np.max))
    scaled = (weights - low) / np.maximum(high - low, 1e-12)
    side = int(np.ceil(len(scaled) ** 0.5))
    framed = np.pad(scaled, ((0, side * side - len(scaled)), (0, 0), (1, 1), (1, 1)), constant_values=1)
    framed[len(scaled) :] = 1
    return tile(framed)


def draw_confusion(counts: np.ndarray, classes: Sequence[str]):
    """A figure of a confusion matrix.

    Args:
        counts: [classes, classes], true by predicted.
        classes: names, at most as many; a network with more outputs has its others numbered.

    Returns:
        ``matplotlib.figure.Figure``.
    """
    from matplotlib.figure import Figure
    from sklearn.metrics import ConfusionMatrixDisplay

    names = [*classes, *map(str, range(len(classes), len(counts)))]
    few = len(names) <= 20  # beyond, numbers and names cannot be read
    figure = Figure(figsize=(7, 6), layout="constrained")
    axes = figure.subplots()
    display = ConfusionMatrixDisplay(counts, display_labels=names if few else None)
    display.plot(ax=axes, include_values=few, cmap="Blues", xticks_rotation="vertical", colorbar=not few)
    accuracy = np.trace(counts) / counts.sum()
    axes.set_title(f"{np.trace(counts)} of {counts.sum()} right ({accuracy:.2%})")
    return figure


def draw_predicted(counts: np.ndarray, low: float, high: float, unit: str):
    """A figure of predicted against true numbers.

    Args:
        counts: of images [true, predicted], over equal cells from ``low`` to ``high``; what lies beyond is in the last.
        unit: of the numbers.

    Returns:
        ``matplotlib.figure.Figure``.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 6), layout="constrained")
    axes = figure.subplots()
    shown = axes.imshow(np.ma.masked_equal(counts.T, 0), origin="lower", extent=(low, high, low, high), cmap="viridis")
    axes.plot([low, high], [low, high], color="gray", linewidth=1)
    of = f", {unit}" if unit else ""
    axes.set(xlabel=f"true{of}", ylabel=f"predicted{of}", title=f"{int(counts.sum())} images")
    figure.colorbar(shown, label="images")
    return figure
