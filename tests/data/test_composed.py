"""Data sets composed of digits: their targets are what is drawn."""

import numpy as np
import pytest

from ppcls_lite.data import load_dataset
from ppcls_lite.data.sources import composed
from ppcls_lite.utils.errors import UserError

NAMES = ("digit_sets", "digit_colours", "digit_sums")


@pytest.fixture(scope="module")
def loaded():
    return {name: load_dataset(name) for name in NAMES}


def flat_pool():
    """Scans of one gray level each, 20 times the digit plus 20, so that a canvas shows its digits."""
    labels = np.repeat(np.arange(10), 3)
    return composed.Pool(np.full((30, 8, 8), 20, np.uint8) * (labels + 1).astype(np.uint8)[:, None, None], labels)


def levels_of(canvas):
    """The digits of :func:`flat_pool` on a canvas [H, W], each as often as its area says."""
    values, counts = np.unique(canvas[canvas > 0], return_counts=True)
    return {int(value) // 20 - 1: int(count) // 256 for value, count in zip(values, counts, strict=True)}


def test_labels_are_the_digits_on_the_canvas_and_digits_do_not_overlap():
    split = composed.draw_sets(flat_pool(), 200, np.random.default_rng(0), "train")
    totals = set()
    for image, row in zip(split.images.pixels, split.targets["digits"], strict=True):
        found = levels_of(image[0])
        assert sorted(found) == np.flatnonzero(row).tolist()
        totals.add(sum(found.values()))
        assert np.count_nonzero(image[0]) == 256 * sum(found.values())
    assert totals == {1, 2, 3, 4}


def test_the_sum_is_that_of_the_montage_and_the_numbers():
    split = composed.draw_sums(flat_pool(), 100, np.random.default_rng(0), "train")
    for image, numbers, total in zip(split.images.pixels, split.table, split.targets["sum"], strict=True):
        pictured = sum(digit * times for digit, times in levels_of(image[0]).items())
        assert pictured + numbers.sum() == total
        assert all(len(np.unique(image[0, y : y + 16, x : x + 16])) == 1 for y in (0, 16) for x in (0, 16))


@pytest.mark.parametrize("part", ["train", "test"])
def test_a_digit_has_its_colour_and_pairs_name_both(part):
    pool = composed.Pool(np.full((10, 8, 8), 255, np.uint8), np.arange(10))
    split = composed.draw_colours(pool, 300, np.random.default_rng(0), part)
    inks = np.array(list(composed.INKS.values()))
    for image, colour in zip(split.images.pixels, split.targets["colour"], strict=True):
        assert np.abs(image[:, 15, 15] - inks[colour]).max() <= 25  # the centre is always inside
    names = [composed.PAIRS[pair] for pair in split.targets["pair"]]
    colours = list(composed.INKS)
    pairs = zip(split.targets["digit"], split.targets["colour"], strict=True)
    assert names == [f"{digit} {colours[colour]}" for digit, colour in pairs]


def test_digits_are_scans_of_their_digit(loaded):
    """The drawn digits, up to where they stand, are scans of the same part with the same label."""
    whole = load_dataset("digits")
    for part in ("train", "test"):
        source, split = whole.parts[part], loaded["digit_sums"].parts[part]
        label_of = {
            scan.tobytes(): label
            for scan, label in zip(source.images.pixels[:, 0, ::4, ::4], source.targets["label"], strict=True)
        }
        for image, numbers, total in zip(split.images.pixels, split.table, split.targets["sum"], strict=True):
            scans = (image[0, y : y + 16 : 2, x : x + 16 : 2] for y in (0, 16) for x in (0, 16))
            assert sum(label_of[scan.tobytes()] for scan in scans) + numbers.sum() == total


def test_held_out_pairs_are_never_trained_on_and_every_digit_and_colour_is(loaded):
    train, test = (loaded["digit_colours"].parts[part].targets for part in ("train", "test"))
    held_out = composed.is_held_out(test["digit"], test["colour"])
    assert set(test["pair"][held_out]).isdisjoint(train["pair"])
    counts = np.bincount(train["pair"], minlength=60)
    assert sorted(set(counts)) == [0, 60] and (counts == 0).sum() == 10
    assert len(set(train["digit"])) == 10 and len(set(train["colour"])) == 6
    assert set(test["digit"][held_out]) == set(range(10)) and set(test["colour"][held_out]) == set(range(6))
    assert np.bincount(test["pair"]).tolist() == [20] * 60


def test_seen_and_held_out_make_up_the_test_part(loaded):
    whole = loaded["digit_colours"]
    seen, held_out = (load_dataset("digit_colours", test=test) for test in ("seen", "held_out"))
    assert len(seen.parts["test"]) == 1000 and len(held_out.parts["test"]) == 200
    rows = [set(map(bytes, data.parts["test"].images.pixels)) for data in (whole, seen, held_out)]
    assert rows[0] == rows[1] | rows[2]
    assert not set(seen.parts["test"].targets["pair"]) & set(held_out.parts["test"].targets["pair"])
    assert set(seen.parts["test"].targets["pair"]) == set(whole.parts["train"].targets["pair"])
    for data in (seen, held_out):
        np.testing.assert_array_equal(data.parts["train"].images.pixels, whole.parts["train"].images.pixels)
        assert data.official and data.sha256 != whole.sha256


@pytest.mark.parametrize(
    ("inputs", "fields", "has_images"), [("pictures", None, True), ("numbers", ("first", "second"), False)]
)
def test_inputs_of_a_sum_can_be_left_out(inputs, fields, has_images, loaded):
    data, both = load_dataset("digit_sums", inputs=inputs), loaded["digit_sums"]
    assert data.spec.has_images == has_images and (data.spec.fields and data.spec.fields.numbers) == fields
    for part, split in data.parts.items():
        assert len(split) == len(both.parts[part]) and (split.images is None, split.table is None) == (
            not has_images,
            has_images,
        )
        np.testing.assert_array_equal(split.targets["sum"], both.parts[part].targets["sum"])
    assert both.spec.fields.images == ("canvas",) and both.spec.fields.width == 2


@pytest.mark.parametrize("name", NAMES)
def test_arrays_are_as_described_and_the_same_each_time(name, loaded):
    data = loaded[name]
    assert data.official and data.sha256 == composed.SHA256[name]
    for part, size in composed.SIZES.items():
        split, side = data.parts[part], data.spec.image_size
        assert split.images.pixels.shape == (size, 3, side, side) and split.images.pixels.dtype == np.uint8
        for column, values in split.targets.items():
            kind = data.spec.columns[column].kind
            assert values.dtype == {"class": np.int64, "labels": np.uint8, "number": np.float64}[kind]
            assert kind == "number" or values.max() < len(data.spec.columns[column].classes)
    pixels = data.parts["train"].images.pixels / 255
    if name != "digit_sums":  # which has the statistics of the digits
        np.testing.assert_allclose(pixels.mean((0, 2, 3)), data.spec.mean, atol=1e-4)
        np.testing.assert_allclose(pixels.std((0, 2, 3)), data.spec.std, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_mistakes_are_named(name):
    with pytest.raises(UserError, match=f"DataLoader.root does not apply to {name}"):
        load_dataset(name, "/tmp")
    with pytest.raises(UserError, match=r"DataLoader\.tset is not an option"):
        load_dataset(name, tset="held_out")
