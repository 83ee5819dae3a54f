"""Tiny image files for the tests of data sets on disk."""

import numpy as np
from PIL import Image


def write_image(path, seed=0, size=(12, 10), **options):
    """A random image file, its folders made; ``size`` is width, height."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, **options)
    return path


def write_folder(root, parts=("train", "test"), classes=("cat", "dog"), images=3):
    """``root/PART/CLASS/I.png``, all different."""
    for i, part in enumerate(parts):
        for j, name in enumerate(classes):
            for k in range(images):
                write_image(root / part / name / f"{k}.png", seed=100 * i + 10 * j + k)
    return root
