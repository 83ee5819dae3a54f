"""Small CIFAR-10 archives in the official layout."""

import pickle
import tarfile
from pathlib import Path

import numpy as np

NAMES = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]


def batch(rng, images=20):
    """One batch as the official files hold it: bytes keys, a list of labels with every class."""
    labels = [int(v) for v in rng.permutation(np.arange(images) % 10)]
    return {b"batch_label": b"x", b"labels": labels, b"data": rng.integers(0, 256, (images, 3072), dtype=np.uint8)}


def write_folder(root: Path, rng, images=20) -> Path:
    """ROOT/cifar-10-batches-py with six batches."""
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    for name in NAMES:
        (folder / name).write_bytes(pickle.dumps(batch(rng, images), protocol=2))
    return folder


def write_archive(root: Path, folder: Path) -> Path:
    """ROOT/cifar-10-python.tar.gz with the folder in it."""
    archive = root / "cifar-10-python.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder, arcname=folder.name)
    return archive
