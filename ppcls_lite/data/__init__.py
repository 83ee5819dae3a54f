"""Data sets and batches. Nothing here needs paddle, except downloads and worker processes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ppcls_lite.config.catalog import DATASETS, register_dataset
from ppcls_lite.data.dataset import Column, Dataset, DataSpec, ImageArray, Reading, Source, Split
from ppcls_lite.data.loader import BatchLoader
from ppcls_lite.data.splits import split_balanced, split_dataset

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
    "split_dataset",
]


def open_source(name: str, root: str | Path | None = None, options: Mapping[str, Any] | None = None) -> Source:
    """Open the data set ``name`` (one of ``DATASETS.names()``) without reading its images.

    Args:
        root: the archive, its extracted folder, or a folder that contains either; by default the PPCLS_DATA
            environment variable, then Paddle's cache, then a download. For images on disk, their folder.
        options: options of this data set.

    Raises:
        UserError: unknown data set, or invalid options.
    """
    checked = DATASETS.check_options(name, {"root": root and str(root), **(options or {})}, prefix="DataLoader.")
    return DATASETS.factory(name)(**checked)


def load_dataset(name: str, root: str | Path | None = None, **options: Any) -> Dataset:
    """Load the data set ``name``; see :func:`open_source` for the arguments.

    Raises:
        UserError: not found, damaged, or the files of another data set.
    """
    source = open_source(name, root, options)
    return source.load(Reading(source.spec.channels or 3, source.spec.image_size or 224))
