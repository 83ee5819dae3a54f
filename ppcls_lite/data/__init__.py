"""Data sets as uint8 arrays, batched augmentation, one loader. Nothing here needs paddle, except a download."""

from pathlib import Path

from ppcls_lite.data import cifar10, digits, fashion_mnist
from ppcls_lite.data.arrays import Dataset, DatasetInfo, Split, split_balanced
from ppcls_lite.data.loader import ArrayLoader

__all__ = [
    "DATASETS",
    "ArrayLoader",
    "Dataset",
    "DatasetInfo",
    "Split",
    "fetch_dataset",
    "load_dataset",
    "split_balanced",
]

_MODULES = {module.INFO.name: module for module in (cifar10, digits, fashion_mnist)}
DATASETS: dict[str, DatasetInfo] = {name: module.INFO for name, module in _MODULES.items()}


def load_dataset(name: str, root: str | Path | None = None) -> Dataset:
    """Read data set ``name`` (a key of ``DATASETS``) into memory.

    Args:
        root: the archive, its extracted folder, or a folder with either; by default the PPCLS_DATA environment
            variable, then Paddle's cache, then a download.

    Raises:
        UserError: not found, damaged, or another data set's.
    """
    return _MODULES[name].load(root)


def fetch_dataset(name: str, root: str | Path | None = None) -> None:
    """Download data set ``name`` where :func:`load_dataset` would; needs paddle.

    Raises:
        UserError: not found, or the download failed.
    """
    if hasattr(_MODULES[name], "find"):  # the others come with a package
        _MODULES[name].find(root)
