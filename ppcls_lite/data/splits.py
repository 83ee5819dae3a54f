"""Splitting a data set into training, validation and test samples."""

import numpy as np

from ppcls_lite.config.schema import DataLoader
from ppcls_lite.data.dataset import Dataset, Split
from ppcls_lite.utils.errors import UserError


def split_dataset(data: DataLoader, dataset: Dataset, balance: str | None) -> tuple[Split, Split | None, Split]:
    """Split a data set into training, validation and test samples.

    Test samples are set aside first if the data set has none of its own: a fold (``data.fold``) or a share
    (``data.test_fraction``). Then validation samples are set aside, then subsets are taken.

    Args:
        data: settings; the splits depend on its ``split_seed``.
        balance: the column whose proportions of classes every part keeps, int64 or str; None to split at random.

    Raises:
        UserError: too few samples (of a class), no test samples, or a setting for a part that the data set has.
    """
    train, val, test = (dataset.parts.get(part) for part in ("train", "val", "test"))

    def set_aside(split: Split, size: int, key: str) -> tuple[Split, Split]:
        what = f"DataLoader.{key}"
        if balance is not None:
            chosen, rest = split_balanced(split.targets[balance], size, data.split_seed, what)
        else:
            chosen, rest = _split_randomly(len(split), size, data.split_seed, what)
        return split.take(chosen), split.take(rest)

    def subset(split: Split, size: int | None, key: str) -> Split:
        return split if size is None or size == len(split) else set_aside(split, size, key)[0]

    settings = (("test", "test_fraction"), ("val", "val_fraction"), ("test", "fold"))
    for name, key in settings:
        value = getattr(data, key)
        if dataset.parts.get(name) is not None and value:
            value = value if isinstance(value, str) else f"{value:g}"
            own_images = f"{dataset.source} has {name} images of its own"
            raise UserError(f"DataLoader.{key} is {value}, but {own_images}; leave it out")
    if data.fold is not None:
        chosen, rest = _split_fold(train, data, balance)
        test, train = train.take(chosen), train.take(rest)
    elif test is None:
        if not data.test_fraction:
            raise UserError(
                f"{dataset.source} has no test images; set DataLoader.test_fraction, such as 0.2, "
                "or DataLoader.fold, such as 1/5"
            )
        test, train = set_aside(train, round(data.test_fraction * len(train)), "test_fraction")
    if data.val_fraction:
        val, train = set_aside(train, round(data.val_fraction * len(train)), "val_fraction")
    return subset(train, data.train_subset, "train_subset"), val, subset(test, data.test_subset, "test_subset")


def _split_fold(split: Split, data: DataLoader, balance: str | None) -> tuple[np.ndarray, np.ndarray]:
    """Sorted indices of fold k of K, and of the others; each sample is in one of the K folds."""
    from sklearn.model_selection import KFold, StratifiedKFold

    number, total = map(int, data.fold.split("/"))
    if len(split) < total:
        raise UserError(f"DataLoader.fold is {data.fold}, but there are {len(split)} images; expected fewer folds")
    if balance is None:
        folds = KFold(total, shuffle=True, random_state=data.split_seed).split(np.arange(len(split)))
    else:
        labels = split.targets[balance]
        fewest = np.unique(labels, return_counts=True)[1].min()
        if fewest < total:
            raise UserError(f"DataLoader.fold is {data.fold}, but a class has {fewest} images; expected fewer folds")
        folds = StratifiedKFold(total, shuffle=True, random_state=data.split_seed).split(labels, labels)
    return tuple(reversed(list(folds)[number - 1]))


def _split_randomly(total: int, size: int, seed: int, what: str) -> tuple[np.ndarray, np.ndarray]:
    if not 1 <= size < total:
        raise UserError(f"{what} asks for {size} of {total} images, expected 1 to {total - 1}")
    order = np.random.default_rng(seed).permutation(total)
    return np.sort(order[:size]), np.sort(order[size:])


def split_balanced(labels: np.ndarray, size: int, seed: int, what: str) -> tuple[np.ndarray, np.ndarray]:
    """Split indices into ``size`` and the rest, both sorted, each with the class proportions of ``labels``.

    Args:
        labels: classes, int64 or str [N].
        seed: the split depends on it.
        what: the setting to name in the error message.

    Raises:
        UserError: one side would have fewer images than there are classes.
    """
    counts = np.unique(labels, return_counts=True)[1]
    classes = len(counts)
    if counts.min() < 2:
        raise UserError(f"{what} cannot be met: a class has a single image; remove it, or name another column in Heads")
    if not classes <= size <= len(labels) - classes:
        raise UserError(
            f"{what} asks for {size} of {len(labels)} images; "
            f"with {classes} classes it can be {classes} to {len(labels) - classes}"
        )
    from sklearn.model_selection import train_test_split  # takes half a second, and is rarely needed

    chosen, rest = train_test_split(np.arange(len(labels)), train_size=size, stratify=labels, random_state=seed)
    return np.sort(chosen), np.sort(rest)
