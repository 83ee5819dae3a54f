"""Data sets and how their samples become batches. Nothing here needs paddle, except a download and worker processes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ppcls_lite.config.catalog import DATASETS, register_dataset
from ppcls_lite.data.dataset import Column, Dataset, DataSpec, ImageArray, Reading, Source, Split, split_balanced
from ppcls_lite.data.loader import BatchLoader

__all__ = [
    "DATASETS",
    "BatchLoader",
    "Column",
    "DataSpec",
    "Dataset",
    "ImageArray",
    "Reading",
    "Source",
    "Split",
    "load_dataset",
    "open_source",
    "register_dataset",
    "split_balanced",
]


def open_source(name: str, root: str | Path | None = None, options: Mapping[str, Any] | None = None) -> Source:
    """The data set ``name`` (one of ``DATASETS.names()``) before it is read.

    Args:
        root: the archive, its extracted folder, or a folder with either; by default the PPCLS_DATA environment
            variable, then Paddle's cache, then a download. For images on disk, their folder.
        options: of this data set.

    Raises:
        UserError: no such data set, or options that do not fit.
    """
    checked = DATASETS.check_options(name, {"root": root and str(root), **(options or {})}, prefix="DataLoader.")
    return DATASETS.factory(name)(**checked)


def load_dataset(name: str, root: str | Path | None = None, **options: Any) -> Dataset:
    """Read data set ``name`` into memory; arguments as those of :func:`open_source`.

    Raises:
        UserError: not found, damaged, or another data set's.
    """
    source = open_source(name, root, options)
    return source.load(Reading(source.spec.channels or 3, source.spec.image_size or 224))
