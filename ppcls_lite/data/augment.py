"""Augmentation of whole batches of uint8 images [N, C, H, W]; no Python loop over images."""

import numpy as np


def random_crop(images: np.ndarray, padding: int, rng: np.random.Generator) -> np.ndarray:
    """Pad every side with ``padding`` zeros and cut a window of the old size, at a place of its own for each image."""
    n, c, h, w = images.shape
    padded = np.zeros((n, c, h + 2 * padding, w + 2 * padding), images.dtype)
    padded[:, :, padding : padding + h, padding : padding + w] = images
    top, left = rng.integers(0, 2 * padding + 1, (2, n))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (h, w), axis=(2, 3))
    return windows[np.arange(n), :, top, left]


def random_flip(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Mirror each image left to right with probability 1/2, in place."""
    chosen = np.flatnonzero(rng.random(len(images)) < 0.5)
    images[chosen] = images[chosen, :, :, ::-1]
    return images
