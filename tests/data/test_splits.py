"""Training, validation and test samples, and folds of cross-validation."""

import itertools

import numpy as np
import pytest

from ppcls_lite.config import load as configs
from ppcls_lite.data import Column, Dataset, DataSpec, ImageArray, Split, split_dataset
from ppcls_lite.utils.errors import UserError

CLASSES = ("a", "b", "c")


def dataset(counts=(40, 20, 10), parts=("train",)):
    """Samples that can be told apart, with the columns ``label`` (classes), ``word`` (their names) and ``number``."""
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts))
    pixels = np.arange(len(labels), dtype=np.uint8).reshape(-1, 1, 1, 1)
    words = np.array(CLASSES, object)[labels]
    whole = Split(ImageArray(pixels), {"label": labels, "word": words, "number": labels * 1.5})
    columns = {"label": Column("class", CLASSES), "word": Column("text"), "number": Column("number")}
    return Dataset(DataSpec("toy", columns, 1, 1), dict.fromkeys(parts, whole), "0", "toy")


def settings(**values):
    return configs.build({"Arch": {"name": "resnet20"}, "DataLoader": values}, "x").DataLoader


def ids(split):
    return split.images.pixels.flatten().tolist()


@pytest.mark.parametrize("balance", ["label", "word", None])
def test_every_sample_is_in_one_fold_and_the_others_train(balance):
    data, tested = dataset(), []
    for number in range(1, 6):
        train, val, test = split_dataset(settings(fold=f"{number}/5"), data, balance)
        assert val is None and sorted(ids(train) + ids(test)) == list(range(70)) and len(test) == 14
        assert ids(train) == sorted(ids(train)) and ids(test) == sorted(ids(test))
        if balance is not None:
            assert np.bincount(test.targets["label"]).tolist() == [8, 4, 2]
        tested += ids(test)
    assert sorted(tested) == list(range(70))


@pytest.mark.parametrize("balance", ["label", None])
def test_folds_depend_on_split_seed_alone(balance):
    def fold(**values):
        return ids(split_dataset(settings(fold="2/5", **values), dataset(), balance)[2])

    assert fold() == fold(batch_size=7) != fold(split_seed=1)


@pytest.mark.parametrize("values", [{"fold": "1/5"}, {"test_fraction": 0.2, "val_fraction": 0.25}])
def test_words_split_as_the_classes_that_they_name(values):
    by_label, by_word = (split_dataset(settings(**values), dataset(), balance) for balance in ("label", "word"))
    assert [part and ids(part) for part in by_label] == [part and ids(part) for part in by_word]


def test_validation_and_subsets_are_taken_from_a_fold():
    train, val, test = split_dataset(
        settings(fold="3/5", val_fraction=0.25, train_subset=21, test_subset=7), dataset(), "label"
    )
    assert [len(part) for part in (train, val, test)] == [21, 14, 7]
    assert not set(ids(train)) & set(ids(val)) | set(ids(train) + ids(val)) & set(ids(test))


@pytest.mark.parametrize("balance", ["label", None])
def test_splits_are_disjoint_and_complete(balance):
    parts = split_dataset(settings(test_fraction=0.2, val_fraction=0.25), dataset(), balance)
    assert [len(part) for part in parts] == [42, 14, 14] and sorted(itertools.chain(*map(ids, parts))) == list(
        range(70)
    )


@pytest.mark.parametrize("fold", ["0/5", "6/5", "1/1", "5", "1/5/2", "a/b", "-1/5", "1 / 5", ""])
def test_what_is_not_a_fold_is_named(fold):
    with pytest.raises(UserError, match=f"DataLoader.fold is '{fold}', expected the fold and the number of folds"):
        settings(fold=fold)


@pytest.mark.parametrize(
    ("values", "parts", "counts", "balance", "message"),
    [
        ({"fold": "1/5"}, ("train", "test"), (40, 20, 10), None, "fold is 1/5, but toy has test images of its own"),
        ({"fold": "1/20"}, ("train",), (40, 20, 10), "label", "fold is 1/20, but a class has 10 images"),
        ({"fold": "1/99"}, ("train",), (40, 20, 10), None, "fold is 1/99, but there are 70 images"),
        ({}, ("train",), (40, 20, 10), None, "no test images; set DataLoader.test_fraction, such as 0.2, or"),
        ({"test_fraction": 0.2}, ("train", "test"), (40, 20, 10), None, "test_fraction is 0.2, but toy has test"),
    ],
)
def test_what_does_not_fit_the_data_is_named(values, parts, counts, balance, message):
    with pytest.raises(UserError, match=message):
        split_dataset(settings(**values), dataset(counts, parts), balance)


def test_a_fold_beside_a_test_fraction_is_refused():
    with pytest.raises(UserError, match=r"DataLoader\.fold and DataLoader\.test_fraction are both given"):
        settings(fold="1/5", test_fraction=0.2)
