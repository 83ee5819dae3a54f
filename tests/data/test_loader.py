"""The loader and what it is made of: augmentation, normalisation, order, shards, splits."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppcls_lite.data import ArrayLoader, Split, load_dataset, split_balanced
from ppcls_lite.data.augment import normalize, random_crop, random_flip
from ppcls_lite.errors import UserError


def numbered(n, size=4):
    """``n`` images, each filled with its number, which is its label, too."""
    labels = np.arange(n)
    return Split(np.broadcast_to(labels.astype(np.uint8)[:, None, None, None], (n, 3, size, size)).copy(), labels)


def labels_of(loader):
    return [int(label) for _, labels in loader for label in labels]


def batches_of(loader):
    return [[int(label) for label in labels] for _, labels in loader]


def test_random_crop_equals_the_crop_of_each_image(rng):
    images = rng.integers(0, 256, (50, 3, 8, 8), dtype=np.uint8)
    cropped = random_crop(images, 2, np.random.default_rng(5))
    top, left = np.random.default_rng(5).integers(0, 5, (2, 50))
    padded = np.pad(images, ((0, 0), (0, 0), (2, 2), (2, 2)))
    for i in range(50):
        np.testing.assert_array_equal(cropped[i], padded[i, :, top[i] : top[i] + 8, left[i] : left[i] + 8])
    assert len({(t, c) for t, c in zip(top, left, strict=True)}) > 15  # each image at a place of its own


def test_random_flip_mirrors_half_of_the_images(rng):
    images = rng.integers(0, 256, (1000, 3, 4, 4), dtype=np.uint8)
    flipped = random_flip(images.copy(), rng)
    mirrored = np.array([np.array_equal(a, b[:, :, ::-1]) for a, b in zip(flipped, images, strict=True)])
    same = np.array([np.array_equal(a, b) for a, b in zip(flipped, images, strict=True)])
    assert (mirrored ^ same).all() and 420 < mirrored.sum() < 580


def test_normalize_subtracts_the_mean_and_divides_by_the_std(rng):
    images = rng.integers(0, 256, (5, 3, 4, 4), dtype=np.uint8)
    mean, std = np.array([0.1, 0.2, 0.3]), np.array([0.4, 0.5, 0.6])
    expected = (images / 255.0 - mean[:, None, None]) / std[:, None, None]
    result = normalize(images, mean, std)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, expected, atol=1e-6)
    np.testing.assert_allclose(normalize(images, (0.0,), (1.0,)), images / 255.0, atol=1e-6)


def test_training_pixels_come_out_with_mean_0_and_std_1():
    dataset = load_dataset("digits")
    loader = ArrayLoader(dataset.train, 256, mean=dataset.info.mean, std=dataset.info.std)
    pixels = np.concatenate([images for images, _ in loader])
    np.testing.assert_allclose(pixels.mean(axis=(0, 2, 3)), 0.0, atol=2e-3)
    np.testing.assert_allclose(pixels.std(axis=(0, 2, 3)), 1.0, atol=2e-3)


def test_images_and_labels_stay_together():
    for images, labels in ArrayLoader(numbered(50), 8, shuffle=True, seed=3):
        np.testing.assert_array_equal(np.rint(images[:, 0, 0, 0] * 255), labels)


def test_order_follows_from_seed_and_epoch_alone():
    loaders = [ArrayLoader(numbered(100), 10, shuffle=True, seed=seed) for seed in (0, 0, 1)]
    for loader in loaders:
        loader.set_epoch(1)
    first, again, other_seed = (labels_of(loader) for loader in loaders)
    loaders[0].set_epoch(2)
    other_epoch = labels_of(loaders[0])
    assert first == again and sorted(first) == sorted(other_seed) == sorted(other_epoch) == list(range(100))
    assert first != other_seed and first != other_epoch
    loaders[0].set_epoch(1)
    assert labels_of(loaders[0]) == first  # an epoch can be repeated


def test_augmentation_follows_from_seed_epoch_and_rank(rng):
    split = Split(rng.integers(0, 256, (16, 3, 8, 8), dtype=np.uint8), np.arange(16))

    def images(**changes):
        options = {"seed": 0, "crop_padding": 2, "flip": True, **changes}
        (batch, _), *_ = ArrayLoader(split, 8, **options)
        return batch

    np.testing.assert_array_equal(images(), images())
    assert not np.array_equal(images(), images(seed=1))
    half = ArrayLoader(split, 8, seed=0, crop_padding=2, flip=True, rank=0, world_size=2)
    other = ArrayLoader(split, 8, seed=0, crop_padding=2, flip=True, rank=1, world_size=2)
    assert half.split is other.split and not np.array_equal(next(iter(half))[0], next(iter(other))[0])


@given(n=st.integers(1, 60), batch=st.integers(1, 20), world=st.integers(1, 5), shuffle=st.booleans())
def test_shards_overlap_nowhere_and_lose_nothing_that_scoring_needs(n, batch, world, shuffle):
    split = numbered(n, size=1)
    if shuffle and n < world:
        with pytest.raises(UserError, match=f"{n} training images are too few for {world} processes"):
            ArrayLoader(split, batch, shuffle=True, world_size=world)
        return
    loaders = [ArrayLoader(split, batch, shuffle=shuffle, rank=r, world_size=world) for r in range(world)]
    shards = [labels_of(loader) for loader in loaders]
    seen = sorted(label for shard in shards for label in shard)
    assert seen == list(range(n))
    if shuffle:  # training: all step equally often
        assert len({len(loader) for loader in loaders}) == 1
    assert [len(loader) for loader in loaders] == [len(list(loader)) for loader in loaders]


@given(n=st.integers(1, 60), batch=st.integers(1, 20), world=st.integers(1, 5), drop_last=st.booleans())
def test_processes_share_the_steps_that_one_process_would_make(n, batch, world, drop_last):
    """Each step has the images of a single process with their batches together; only a small rest joins the last."""
    if n < world or (drop_last and n < batch * world):
        return
    split = numbered(n, size=1)
    options = {"shuffle": True, "drop_last": drop_last, "seed": 4}
    steps = [list(step) for step in batches_of(ArrayLoader(split, batch * world, **options))]
    if len(steps) > 1 and len(steps[-1]) < world:
        steps[-2:] = [steps[-2] + steps[-1]]
    loaders = [ArrayLoader(split, batch, rank=rank, world_size=world, **options) for rank in range(world)]
    shares = np.zeros(len(steps))
    for i, parts in enumerate(zip(*map(iter, loaders), strict=True)):
        assert sorted(label for _, labels in parts for label in labels) == sorted(steps[i])
        shares[i] = sum(loader.share for loader in loaders)
        # The mean over processes, by their shares, is the mean over images.
        means = [labels.mean() * loader.share for (_, labels), loader in zip(parts, loaders, strict=True)]
        assert np.mean(means) == pytest.approx(np.mean(steps[i]))
        assert {loader.step_images for loader in loaders} == {len(steps[i])}
    np.testing.assert_allclose(shares, world)


@given(n=st.integers(1, 60), batch=st.integers(1, 20), world=st.integers(1, 5))
def test_scoring_deals_out_whole_batches(n, batch, world):
    split = numbered(n, size=1)
    whole = batches_of(ArrayLoader(split, batch))
    shards = [batches_of(ArrayLoader(split, batch, rank=rank, world_size=world)) for rank in range(world)]
    assert [shards[i % world][i // world] for i in range(len(whole))] == whole


def test_drop_last_leaves_out_the_rest_and_refuses_less_than_a_batch():
    assert len(labels_of(ArrayLoader(numbered(10), 4, drop_last=True))) == 8
    assert len(labels_of(ArrayLoader(numbered(10), 4))) == 10
    with pytest.raises(UserError, match="batch_size 16 is more than the 10 training images"):
        ArrayLoader(numbered(10), 16, drop_last=True)


@given(size=st.integers(10, 90), seed=st.integers(0, 5))
def test_splits_are_balanced_disjoint_and_seeded(size, seed):
    labels = np.arange(100) % 10
    chosen, rest = split_balanced(labels, size, seed, "test")
    assert sorted([*chosen, *rest]) == list(range(100)) and len(chosen) == size
    counts = np.bincount(labels[chosen], minlength=10)
    assert counts.max() - counts.min() <= 1
    np.testing.assert_array_equal(chosen, split_balanced(labels, size, seed, "test")[0])


@pytest.mark.parametrize("size", [0, 9, 91, 1000])
def test_impossible_splits_are_refused(size):
    with pytest.raises(UserError, match=f"DataLoader.train_subset asks for {size} of 100 images"):
        split_balanced(np.arange(100) % 10, size, 0, "DataLoader.train_subset")


def test_digits_are_those_that_scikit_learn_bundles():
    dataset = load_dataset("digits")
    assert (len(dataset.train), len(dataset.test)) == (1437, 360)
    assert dataset.train.images.shape[1:] == (3, 32, 32) and dataset.train.images.max() == 255
    assert dataset.official
    assert np.bincount(dataset.test.labels).min() >= 34
    with pytest.raises(UserError, match="root does not apply to digits"):
        load_dataset("digits", "somewhere")
