"""Pictures for the dashboard, and contact sheets of predictions."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from paddle import nn

from ppcls_lite.data.image_file import load_image
from ppcls_lite.utils.text import escape

GRID = 1024  # largest side of a grid of images, in pixels
TILE = 64  # smaller images are magnified to about this side
SHEET_COLUMNS, SHEET_IMAGES = 6, 300  # images per row, and at most per contact sheet
MAX_CURVES = 10  # of precision against recall
SHEET_TILE, CAPTION = 160, 24  # side of an image in pixels, characters of a caption


def tile(images: np.ndarray) -> np.ndarray:
    """A square grid of images, as many as fit.

    Args:
        images: float [N, C, H, W] in [0, 1], C being 1 or 3.

    Returns:
        uint8 [H', W', 3]; small images are magnified without smoothing.
    """
    n, c, h, w = images.shape
    zoom = max(1, TILE // max(h, w))
    side = max(1, min(int(n**0.5), GRID // (zoom * max(h, w))))
    grid = images[: side * side].reshape(side, side, c, h, w).transpose(0, 3, 1, 4, 2).reshape(side * h, side * w, c)
    grid = np.round(255 * grid.clip(0, 1)).astype(np.uint8).repeat(zoom, 0).repeat(zoom, 1)
    return np.broadcast_to(grid, (*grid.shape[:2], 3)) if c == 1 else grid


def draw_filters(network: nn.Layer) -> np.ndarray:
    """The filters of a network's first convolution, as in the AlexNet paper's Figure 3.

    Each filter is scaled from black (its smallest weight) to white (its largest).

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


def draw_confusion(counts: np.ndarray, classes: Sequence[str]) -> Figure:
    """A confusion matrix.

    Args:
        counts: [classes, classes], true by predicted.
        classes: names; if there are fewer than outputs of the network, the other outputs are numbered.
    """
    from sklearn.metrics import ConfusionMatrixDisplay

    names = [*classes, *map(str, range(len(classes), len(counts)))]
    few = len(names) <= 20  # more numbers and names would be unreadable
    figure = Figure(figsize=(7, 6), layout="constrained")
    axes = figure.subplots()
    display = ConfusionMatrixDisplay(counts, display_labels=names if few else None)
    display.plot(ax=axes, include_values=few, cmap="Blues", xticks_rotation="vertical", colorbar=not few)
    accuracy = np.trace(counts) / counts.sum()
    axes.set_title(f"{np.trace(counts)} of {counts.sum()} correct ({accuracy:.2%})")
    return figure


def draw_predicted(counts: np.ndarray, edges: np.ndarray, unit: str, log: bool = False) -> Figure:
    """Predicted against true numbers.

    Args:
        counts: images [true, predicted] in the cells between ``edges``; numbers beyond are in the last cells.
        unit: of the numbers.
        log: use logarithmic axes.
    """
    figure = Figure(figsize=(7, 6), layout="constrained")
    axes = figure.subplots()
    shown = axes.pcolormesh(edges, edges, np.ma.masked_equal(counts.T, 0), cmap="viridis")
    axes.plot(edges[[0, -1]], edges[[0, -1]], color="gray", linewidth=1)
    suffix = f", {unit}" if unit else ""
    axes.set(xlabel=f"true{suffix}", ylabel=f"predicted{suffix}", title=f"{int(counts.sum())} images")
    if log:
        axes.set(xscale="log", yscale="log")
    axes.set_aspect("equal")
    figure.colorbar(shown, label="images")
    return figure


def draw_precision_recall(targets: np.ndarray, scores: np.ndarray, labels: Sequence[str]) -> Figure:
    """Precision against recall for every threshold, of the ``MAX_CURVES`` most frequent labels.

    Args:
        targets: [N, labels], 1 for each label that applies.
        scores: [N, labels], larger for labels that are more probable.
    """
    from sklearn.metrics import average_precision_score, precision_recall_curve

    figure = Figure(figsize=(8, 6), layout="constrained")
    axes = figure.subplots()
    support = targets.sum(axis=0)
    lines, names = [], []
    for i in np.argsort(-support.astype(int), kind="stable")[:MAX_CURVES]:
        if support[i]:
            precision, recall, _ = precision_recall_curve(targets[:, i], scores[:, i])
            lines += axes.step(recall, precision, where="post", linewidth=1.5)
            average = average_precision_score(targets[:, i], scores[:, i])
            names.append(f"{escape(labels[i])}  AP {average:.3f}  ({support[i]} images)")
    shown = f"; the {len(lines)} most frequent of {len(labels)} labels" if len(lines) < len(labels) else ""
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02), title=f"{len(targets)} images{shown}")
    axes.grid(alpha=0.3)
    for text in figure.legend(lines, names, loc="outside lower center", ncols=2, fontsize=8).get_texts():
        text.set_parse_math(False)  # labels may contain $
    return figure


def draw_contact_sheet(images: Sequence[tuple[Path, str]]) -> Figure:
    """Images cropped to squares, with captions and file names; at most ``SHEET_IMAGES``.

    Args:
        images: (image file, caption) pairs.
    """
    images = images[:SHEET_IMAGES]
    columns = min(SHEET_COLUMNS, len(images))
    rows = -(-len(images) // columns)
    figure = Figure(figsize=(1.7 * columns, 2.1 * rows))
    edges = {"left": 0, "right": 1, "bottom": 0, "top": 1 - 0.4 / (2.1 * rows), "hspace": 0.3}
    axes = figure.subplots(rows, columns, squeeze=False, gridspec_kw=edges).ravel()
    for axis in axes:
        axis.axis("off")
    for axis, (path, caption) in zip(axes, images, strict=False):
        pixels = load_image(path, 3, SHEET_TILE).transpose(1, 2, 0)
        lines = [line if len(line) <= CAPTION else f"{line[:CAPTION]}..." for line in map(escape, (caption, path.name))]
        axis.imshow(pixels)
        axis.set_title("\n".join(lines), fontsize=7, parse_math=False)
    return figure
