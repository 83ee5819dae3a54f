"""The loader and what it is made of: augmentation, normalisation, order, shards, splits."""

import numpy as np
import paddle
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppcls_lite.config import load as configs
from ppcls_lite.data import BatchLoader, load_dataset, split_balanced
from ppcls_lite.data.dataset import labeled
from ppcls_lite.data.loader import draw_balanced, scale_class_weights
from ppcls_lite.data.pipeline import parse_transforms
from ppcls_lite.data.transforms import Normalization, identity, random_crop, random_flip
from ppcls_lite.tasks.setup import complete
from ppcls_lite.utils.errors import UserError
from tests.helpers import labelled


def numbered(n, size=4):
    """``n`` images, each filled with its number, which is its label, too."""
    labels = np.arange(n)
    return labeled(np.broadcast_to(labels.astype(np.uint8)[:, None, None, None], (n, 3, size, size)).copy(), labels)


def one_hot(labels):
    return np.eye(3, dtype=np.float32)[labels]


def labels_of(loader):
    return [int(label) for _, labels, _ in loader for label in labels]


def batches_of(loader):
    return [[int(label) for label in labels] for _, labels, _ in loader]


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
    result = Normalization(mean, std)(images)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, expected, atol=1e-6)
    np.testing.assert_allclose(identity(3)(images), images / 255.0, atol=1e-6)


def test_normalization_gives_tensors_the_same_bytes(rng):
    images = rng.integers(0, 256, (5, 3, 4, 4), dtype=np.uint8)
    normalization = Normalization((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    np.testing.assert_array_equal(normalization(paddle.to_tensor(images)).numpy(), normalization(images))
    assert normalization._tensors(paddle.CPUPlace())[0] is normalization._tensors(paddle.CPUPlace())[0]


def test_training_pixels_come_out_with_mean_0_and_std_1():
    dataset = load_dataset("digits")
    normalization = Normalization(dataset.spec.mean, dataset.spec.std)
    pixels = normalization(dataset.parts["train"].images.pixels)
    np.testing.assert_allclose(pixels.mean(axis=(0, 2, 3)), 0.0, atol=2e-3)
    np.testing.assert_allclose(pixels.std(axis=(0, 2, 3)), 1.0, atol=2e-3)


def test_images_and_labels_stay_together():
    for images, labels, _ in BatchLoader(*labelled(numbered(50), "label"), 8, shuffle=True, seed=3):
        np.testing.assert_array_equal(images[:, 0, 0, 0], labels)


def test_order_follows_from_seed_and_epoch_alone():
    loaders = [BatchLoader(*labelled(numbered(100), "label"), 10, shuffle=True, seed=seed) for seed in (0, 0, 1)]
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
    split = labeled(rng.integers(0, 256, (16, 3, 8, 8), dtype=np.uint8), np.arange(16))

    def images(**changes):
        options = {"seed": 0, "crop_padding": 2, "flip": True, **changes}
        (batch, *_), *_ = BatchLoader(*labelled(split, "label"), 8, **options)
        return batch

    np.testing.assert_array_equal(images(), images())
    assert not np.array_equal(images(), images(seed=1))
    half = BatchLoader(*labelled(split, "label"), 8, seed=0, crop_padding=2, flip=True, rank=0, world_size=2)
    other = BatchLoader(*labelled(split, "label"), 8, seed=0, crop_padding=2, flip=True, rank=1, world_size=2)
    assert half.split is other.split and not np.array_equal(next(iter(half))[0], next(iter(other))[0])


@given(n=st.integers(1, 60), batch=st.integers(1, 20), world=st.integers(1, 5), shuffle=st.booleans())
def test_shards_overlap_nowhere_and_lose_nothing_that_scoring_needs(n, batch, world, shuffle):
    split = numbered(n, size=1)
    if shuffle and n < world:
        with pytest.raises(UserError, match=f"{n} training images are too few for {world} processes"):
            BatchLoader(*labelled(split, "label"), batch, shuffle=True, world_size=world)
        return
    loaders = [
        BatchLoader(*labelled(split, "label"), batch, shuffle=shuffle, rank=r, world_size=world) for r in range(world)
    ]
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
    steps = [list(step) for step in batches_of(BatchLoader(*labelled(split, "label"), batch * world, **options))]
    if len(steps) > 1 and len(steps[-1]) < world:
        steps[-2:] = [steps[-2] + steps[-1]]
    loaders = [
        BatchLoader(*labelled(split, "label"), batch, rank=rank, world_size=world, **options) for rank in range(world)
    ]
    for i, parts in enumerate(zip(*map(iter, loaders), strict=True)):
        assert sorted(label for _, labels, _ in parts for label in labels) == sorted(steps[i])
        # The mean over processes of their weighted sums is the mean over images.
        sums = [(labels * weights).sum() for _, labels, weights in parts]
        assert np.mean(sums) == pytest.approx(np.mean(steps[i]), rel=1e-5)
        assert sum(weights.sum() for *_, weights in parts) == pytest.approx(world, rel=1e-5)
        assert {loader.step_size(i) for loader in loaders} == {len(steps[i])}


@given(n=st.integers(1, 60), batch=st.integers(1, 20), world=st.integers(1, 5))
def test_scoring_deals_out_whole_batches(n, batch, world):
    split = numbered(n, size=1)
    whole = batches_of(BatchLoader(*labelled(split, "label"), batch))
    shards = [
        batches_of(BatchLoader(*labelled(split, "label"), batch, rank=rank, world_size=world)) for rank in range(world)
    ]
    assert [shards[i % world][i // world] for i in range(len(whole))] == whole


def test_drop_last_leaves_out_the_rest_and_refuses_less_than_a_batch():
    assert len(labels_of(BatchLoader(*labelled(numbered(10), "label"), 4, drop_last=True))) == 8
    assert len(labels_of(BatchLoader(*labelled(numbered(10), "label"), 4))) == 10
    with pytest.raises(UserError, match="batch_size 16 is more than the 10 training images"):
        BatchLoader(*labelled(numbered(10), "label"), 16, drop_last=True)


def unbalanced(counts=(40, 9, 1)):
    labels = np.repeat(np.arange(len(counts)), counts)
    return labeled(np.zeros((len(labels), 3, 1, 1), np.uint8), labels)


@given(counts=st.lists(st.integers(1, 50), min_size=2, max_size=6), seed=st.integers(0, 9))
def test_balanced_draws_each_class_and_each_of_its_images_equally_often(counts, seed):
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    drawn = draw_balanced(labels, np.random.default_rng(seed))
    per_class = np.bincount(labels[drawn], minlength=len(counts))
    per_image = np.bincount(drawn, minlength=len(labels))
    assert len(drawn) == len(labels) and np.ptp(per_class) <= 1
    assert all(np.ptp(per_image[labels == label]) <= 1 for label in range(len(counts)))


def test_a_balanced_epoch_follows_from_seed_and_epoch_and_is_shared_by_processes():
    def epoch(number=1, batch=10, seed=2, **place):
        loader = BatchLoader(*labelled(unbalanced(), "label"), batch, shuffle=True, balanced=True, seed=seed, **place)
        loader.set_epoch(number)
        return [batch.tolist() for batch in loader.batches()]

    assert epoch() == epoch() and epoch() != epoch(2) and epoch() != epoch(seed=3)
    shares = [epoch(batch=5, rank=rank, world_size=2) for rank in range(2)]
    assert [[*a, *b] for a, b in zip(*shares, strict=True)] == [batch[::2] + batch[1::2] for batch in epoch()]


@given(counts=st.lists(st.integers(1, 50), min_size=2, max_size=6))
def test_class_weights_have_mean_1_over_the_images(counts):
    labels = np.repeat(np.arange(len(counts)), counts)
    balanced = scale_class_weights("balanced", labels, len(counts) + 1)
    assert balanced[labels].mean() == pytest.approx(1) and balanced[-1] == 0
    np.testing.assert_allclose(np.bincount(labels, balanced[labels]), len(labels) / len(counts))
    given = scale_class_weights(range(1, len(counts) + 1), labels, len(counts))
    assert given[labels].mean() == pytest.approx(1) and given[1] == pytest.approx(2 * given[0])


@pytest.mark.parametrize("world", [1, 2])
def test_batches_carry_class_weights(world):
    split = unbalanced()
    weights = scale_class_weights("balanced", split.targets["label"], 3)
    options = {"shuffle": True, "class_weights": weights, "soften": one_hot}
    loaders = [
        BatchLoader(*labelled(split, "label"), 10 // world, rank=r, world_size=world, **options) for r in range(world)
    ]
    total = 0.0
    for loader in loaders:
        for _, labels, carried in loader:
            assert carried.dtype == np.float32
            np.testing.assert_allclose(carried, weights[labels] * world / 10, rtol=1e-6)
            total += carried.sum() / world
    assert total == pytest.approx(5, rel=1e-5)  # the mean weight of a step is 1 over the epoch


def test_mixed_images_have_the_mean_weight_of_their_classes():
    pipeline = parse_transforms(["Mixup"], "DataLoader.transforms", 1, 3)
    weights = scale_class_weights([1.0, 2.0, 6.0], unbalanced().targets["label"], 3)
    options = {"shuffle": True, "class_weights": weights, "soften": one_hot, "pipeline": pipeline}
    for _, targets, carried in BatchLoader(*labelled(unbalanced(), "label"), 10, **options):
        np.testing.assert_allclose(carried, targets @ weights / 10, rtol=1e-5)


BROKEN_BALANCING = {
    "a weight too few": ({"class_weights": [1.0] * 9}, {}, "class_weights has 9 values, but label has 10 classes"),
    "a negative weight": ({"class_weights": [-1] * 10}, {}, "expected one of 'balanced' or a list in which each item"),
    "a word": ({"class_weights": "inverse"}, {}, "class_weights is 'inverse', expected one of 'balanced'"),
    "a sampler": ({"sampler": "random"}, {}, "sampler is 'random', expected one of 'balanced'"),
    "both": ({"sampler": "balanced", "class_weights": "balanced"}, {}, "are both balanced; leave one out"),
    "weights of numbers": (
        {"class_weights": "balanced"},
        "value",
        "class_weights is given, but value is not learned by classification",
    ),
    "a sampler of numbers": ({"sampler": "balanced"}, "value", "sampler is given, but value is not learned by"),
}


@pytest.mark.parametrize("case", BROKEN_BALANCING)
def test_balancing_that_does_not_fit_is_refused(case):
    data, column, message = BROKEN_BALANCING[case]
    raw = {"Arch": {"name": "mobilenet_v1"}, "DataLoader": {"dataset": "digits", **data}}
    if column:
        raw["Heads"] = {"x": {"task": "regression", "column": column}}
    with pytest.raises(UserError, match=message) as refused:
        complete(configs.build(raw, "x"))
    assert "\n" not in str(refused.value)


def test_a_run_trains_with_balancing(tiny):
    from ppcls_lite.engine.train import train

    weights = [1.0, 2.0] * 5
    losses = [
        train(tiny(str(i), **{"Optimizer.lr": {"learning_rate": 0.05}, "Global.epochs": 1, **settings}))["test_loss"]
        for i, settings in enumerate(({}, {"DataLoader.class_weights": weights}, {"DataLoader.sampler": "balanced"}))
    ]
    assert len(set(losses)) == 3


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
    train, test = dataset.parts["train"], dataset.parts["test"]
    assert (len(train), len(test)) == (1437, 360)
    assert train.images.shape == (3, 32, 32) and train.images.pixels.max() == 255
    assert dataset.official
    assert np.bincount(test.targets["label"]).min() >= 34
    np.testing.assert_array_equal(test.targets["label"], test.targets["value"])
    with pytest.raises(UserError, match="root does not apply to digits"):
        load_dataset("digits", "somewhere")
