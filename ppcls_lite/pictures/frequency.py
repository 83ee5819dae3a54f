"""Low and high spatial frequencies of an image and of an octave network's features.

After the OctConv paper (arXiv:1904.05049, Figure 1). The low branch of an octave network has half the side; by the
sampling theorem it can carry at most half the frequencies.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import paddle
from matplotlib.figure import Figure
from paddle import Tensor, nn

from ppcls_lite.utils.errors import UserError

CHANNELS = 4  # drawn per branch
SHOWN = 1024  # largest side of a drawn image, in pixels


@dataclass(frozen=True)
class Stage:
    """The features of an octave stage: high [C, H, W] and low [C', H/2, W/2]."""

    number: int
    high: np.ndarray
    low: np.ndarray

    def low_share(self, varying: bool = False) -> float:
        """The low branch's share of the energy: the mean square over positions, summed over channels.

        Both branches cover the same area, so a low position counts as four. ``varying`` subtracts each channel's mean,
        which leaves the variance.
        """
        high, low = _energy(self.high, varying), _energy(self.low, varying)
        return low / (high + low) if high + low else 0.0


def _energy(maps: np.ndarray, varying: bool) -> float:
    return float((maps.var((1, 2)) if varying else np.square(maps).mean((1, 2))).sum())


def split_octaves(image: np.ndarray, octaves: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Split an image into a low part, the result of average pooling as in octave networks, and the remaining high part.

    Args:
        image: [C, H, W]; cropped to multiples of 2^octaves.
        octaves: number of poolings; each one halves the frequencies.

    Returns:
        low [C, H / 2^octaves, W / 2^octaves] and high [C, H, W]; high plus the upsampled low (nearest) is the image.

    Raises:
        UserError: an image smaller than 2^octaves.
    """
    cell = 2**octaves
    _, height, width = image.shape
    if min(height, width) < cell:
        raise UserError(f"the image has {width} x {height} pixels, expected at least {cell} for {octaves} octaves")
    image = image[:, : height // cell * cell, : width // cell * cell]
    low = image.reshape(len(image), height // cell, cell, width // cell, cell).mean((2, 4))
    return low, image - low.repeat(cell, 1).repeat(cell, 2)


def radial_spectrum(maps: np.ndarray, sampling: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Energy by spatial frequency, over all directions, without the means of the channels.

    Args:
        maps: [C, H, W].
        sampling: samples per pixel along a side, 0.5 for a low branch: frequencies are per pixel of the high branch.

    Returns:
        Frequencies in cycles per pixel (centres of rings) and the energy of each ring. The energies add up to the
        variance over positions, summed over channels.
    """
    _, height, width = maps.shape
    power = sum(np.square(np.abs(np.fft.fft2(channel))) for channel in maps) / (height * width) ** 2
    power[0, 0] = 0
    radius = sampling * np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None])
    step = sampling / max(height, width)
    ring = np.round(radius / step).astype(int)
    energy = np.bincount(ring.ravel(), power.ravel())
    return step * np.arange(1, len(energy)), energy[1:]


@paddle.no_grad()
def octave_stages(network: nn.Layer, image: Tensor) -> list[Stage]:
    """Features of the stages with both branches, for an image [1, C, H, W] of the network's input size.

    Raises:
        UserError: no stage has both branches.
    """
    features = enumerate(network.forward_features(image), 1)
    pairs = ((i, pair) for i, pair in features if isinstance(pair, tuple) and not any(x is None for x in pair))
    stages = [Stage(i, *(branch.numpy()[0] for branch in pair)) for i, pair in pairs]
    if not stages:
        raise UserError(f"no stage of this network ({type(network).__name__}) has two branches; use an octave network")
    return stages


def draw_split(image: np.ndarray, octaves: int = 1) -> Figure:
    """An image [C, H, W] in [0, 1], its low and high parts, and the spectra of all three."""
    low, high = split_octaves(image, octaves)
    image = image[:, : high.shape[1], : high.shape[2]]
    figure = Figure(figsize=(14, 3.6), layout="constrained")
    axes = figure.subplots(1, 4)
    variance = _energy(image, True)
    share = _energy(low, True) / variance if variance else 1.0
    titles = ("image", f"low: {share:.1%} of the variance", f"high: {1 - share:.1%}, around gray")
    for axis, title, part in zip(axes, titles, (image, low, high + 0.5), strict=False):
        thin = -(-max(part.shape[1:]) // SHOWN)
        pixels = part[:, ::thin, ::thin].transpose(1, 2, 0).clip(0, 1)
        axis.imshow(pixels[..., 0] if len(part) == 1 else pixels, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        axis.set_title(title, fontsize=9)
        axis.axis("off")
    for label, part, sampling in (("image", image, 1), ("low", low, 0.5**octaves), ("high", high, 1)):
        axes[3].plot(*radial_spectrum(part, sampling), label=label)
    _finish_spectrum(axes[3], 0.5 ** (octaves + 1))
    return figure


def draw_stages(stages: Sequence[Stage], title: str) -> Figure:
    """For each octave stage, the channels with the most variance in each branch, and the spectra of both branches."""
    figure = Figure(figsize=(15, 2.4 * len(stages) + 0.5), layout="constrained")
    widths = [1] * 2 * CHANNELS + [2.2]
    axes = figure.subplots(len(stages), 2 * CHANNELS + 1, squeeze=False, gridspec_kw={"width_ratios": widths})
    for row, stage in zip(axes, stages, strict=True):
        for part, maps, places in (("high", stage.high, row[:CHANNELS]), ("low", stage.low, row[CHANNELS:-1])):
            order = np.argsort(maps.var((1, 2)))[::-1]
            for axis in places:
                axis.axis("off")
            for axis, channel in zip(places, order, strict=False):
                axis.imshow(maps[channel], cmap="magma", interpolation="nearest")
                axis.set_title(f"stage {stage.number} {part} {channel}", fontsize=7)
            row[-1].plot(*radial_spectrum(maps, 1.0 if part == "high" else 0.5), label=part)
        _finish_spectrum(row[-1], 0.25)
        row[-1].set_title(
            f"low: {stage.low_share():.0%} of the energy, {stage.low_share(True):.0%} of the variance", fontsize=8
        )
    figure.suptitle(title, fontsize=10)
    return figure


def _finish_spectrum(axis, half: float) -> None:
    if any((line.get_ydata() > 0).any() for line in axis.lines):  # False if there is no variance
        axis.set_yscale("log")
    axis.axvline(half, color="gray", linestyle="--", linewidth=1)
    axis.set_xlim(0, 0.5)
    axis.set_xlabel("cycles per pixel (dashed: the low part's limit along a side)", fontsize=8)
    axis.set_ylabel("energy", fontsize=8)
    axis.tick_params(labelsize=7)
    axis.legend(fontsize=7)
