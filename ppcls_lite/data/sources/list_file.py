"""Images named in lists, as PaddleClas has them: ``train/n01440764/n01440764_10026.JPEG 0``, one a line."""

import functools
import logging
import os
from pathlib import Path

import numpy as np

from ppcls_lite.config.catalog import register_dataset
from ppcls_lite.config.options import Text
from ppcls_lite.data.dataset import Column, Dataset, DataSpec, Reading
from ppcls_lite.data.files import files_dataset
from ppcls_lite.data.lists import ListedFiles, read_class_map, read_list
from ppcls_lite.utils.errors import UserError
from ppcls_lite.utils.files import user_path
from ppcls_lite.utils.text import count

logger = logging.getLogger(__name__)


@register_dataset
def list_file(
    *,
    root: Text = None,
    train_list: Text = None,
    val_list: Text = None,
    test_list: Text = None,
    class_map: Text = None,
    delimiter: str = " ",
) -> "ListFile":
    """Images named in lists, one a line: path, delimiter, number of the class; no header.

    Args:
        root: the folder that paths in the lists are relative to; by default that of ``train_list``.
        train_list, val_list, test_list: the lists, relative to the working directory or else to ``root``. The data
            set has the parts whose lists are given.
        class_map: names of the classes, one a line: ``0 tench, Tinca tinca``, in UTF-8 or GBK. Without it classes
            are named by their numbers, up to the highest in ``train_list``.
        delimiter: separates path and number; a line is split at the last one, so that paths may have spaces.

    Raises:
        UserError: no train_list is given, or the delimiter is empty.
    """
    if not train_list:
        raise UserError("list_file needs DataLoader.train_list, a text file with lines such as 'images/cat.jpg 0'")
    delimiter = "\t" if delimiter == "\\t" else delimiter
    if not delimiter or delimiter.isdigit() or "\n" in delimiter:
        raise UserError(f"DataLoader.delimiter is {delimiter!r}; expected what separates path and number, such as ' '")
    given = {"train": train_list, "val": val_list, "test": test_list}
    lists = {part: user_path(name) for part, name in given.items() if name}
    folder = user_path(root) if root else None
    return ListFile(folder, lists, user_path(class_map) if class_map else None, delimiter)


class ListFile:
    """Image files named in one list for each part."""

    def __init__(self, root: Path | None, lists: dict[str, Path], class_map: Path | None, delimiter: str):
        self.root = root or lists["train"].parent
        self.lists = {part: _find(path, self.root) for part, path in lists.items()}
        self.class_map = class_map and _find(class_map, self.root)
        self.delimiter = delimiter

    @functools.cached_property
    def spec(self) -> DataSpec:
        """Its classes, from the class map or else from the training list.

        Raises:
            UserError: the file it takes them from is missing or wrong.
        """
        if self.class_map is not None:
            classes = read_class_map(self.class_map)
        else:
            classes = tuple(map(str, range(int(self._train.labels.max()) + 1)))
        if len(classes) < 2:
            place = self.class_map or self.lists["train"]
            raise UserError(f"{place} has a single class, and two or more are needed")
        return DataSpec("list_file", {"label": Column("class", classes)})

    def fetch(self) -> None:
        """Nothing to download."""

    def load(self, reading: Reading) -> Dataset:
        """Read the lists; images are decoded when they are read.

        Raises:
            UserError: a list is missing or wrong, or files that it names are missing.
        """
        if not self.root.is_dir():
            raise UserError(
                f"DataLoader.root {self.root} is not a folder; expected the one that paths in the lists start from"
            )
        parts = {part: self._read(part) for part in self.lists}
        for part, listed in parts.items():
            self._check_labels(part, listed)
        return files_dataset(
            self.spec, {part: (listed.names, listed.labels) for part, listed in parts.items()}, reading, str(self.root)
        )

    @functools.cached_property
    def _train(self) -> ListedFiles:
        return read_list(self.lists["train"], os.fspath(self.root), self.delimiter)

    def _read(self, part: str) -> ListedFiles:
        return self._train if part == "train" else read_list(self.lists[part], os.fspath(self.root), self.delimiter)

    def _check_labels(self, part: str, listed: ListedFiles) -> None:
        classes = len(self.spec.classes)
        wrong = np.flatnonzero(listed.labels >= classes)
        if len(wrong):
            source = self.class_map or self.lists["train"]
            raise UserError(
                f"{self.lists[part]}, line {listed.lines[wrong[0]]}: label {listed.labels[wrong[0]]} is not a class of "
                f"{source}, which has 0 to {classes - 1}; correct the line, or add the class there"
            )
        unseen = np.setdiff1d(listed.labels, self._train.labels)
        if len(unseen):
            logger.warning(
                "warning: %s has %s without training images, first %s (%s)",
                *(self.lists[part], count(len(unseen), "label"), unseen[0], self.spec.classes[unseen[0]]),
            )


def _find(path: Path, root: Path) -> Path:
    """``path`` as it is if it exists, else below ``root`` if it exists there."""
    return root / path if not path.exists() and (root / path).exists() else path
