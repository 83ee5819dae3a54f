"""Pictures composed of scikit-learn's digits, for tasks other than one class per image. Nothing is downloaded.

Training pictures are composed of the training part of ``digits``, test pictures of its test part, by a fixed seed.
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from ppcls_lite.config.catalog import register_dataset
from ppcls_lite.config.options import Inputs, Pairs, Text
from ppcls_lite.data.dataset import Column, Dataset, DataSpec, ImageArray, Reading, Source, Split
from ppcls_lite.data.fields import Fields
from ppcls_lite.data.sources import digits
from ppcls_lite.utils.errors import UserError

SIZES = {"train": 3000, "test": 1200}  # multiples of the 50 pairs in training and of all 60
SETS_SIDE, DIGIT_SIDE, MOST_DIGITS = 48, 16, 4  # of digit_sets
SIDE, COLOURED_SIDE = 32, 24  # of digit_colours; the side of digit_sums is the same
INKS = {
    "red": (230, 60, 60),
    "green": (60, 190, 80),
    "blue": (90, 110, 250),
    "yellow": (235, 215, 70),
    "cyan": (70, 210, 220),
    "magenta": (220, 80, 210),
}
PAIRS = tuple(f"{digit} {ink}" for digit in range(10) for ink in INKS)
SHA256 = {  # of the whole data sets, with numpy 2.3 and scikit-learn 1.9
    "digit_sets": "db1b7383ec40cfafca9304fe45eb8b546781e0c8cbc5b08021a2abc1af5d3b2e",
    "digit_colours": "123860bb15d341347d77701acaf0f249d841d8b60b257ca755ed139748362720",
    "digit_sums": "c5508506f45e471b4207f0fb354839cab5ae4d52f531fc172d6acaa065519498",
}


@dataclass(frozen=True)
class Pool:
    """Scans of digits, uint8 [N, 8, 8], with the digits int64 [N] that they show."""

    scans: np.ndarray
    labels: np.ndarray

    def draw(self, rng: np.random.Generator, count: int, scale: int) -> tuple[np.ndarray, np.ndarray]:
        """``count`` random scans, each pixel repeated: uint8 [count, 8 * scale, 8 * scale], and their digits."""
        chosen = rng.integers(len(self.labels), size=count)
        return enlarge(self.scans[chosen], scale), self.labels[chosen]


def enlarge(scans: np.ndarray, scale: int) -> np.ndarray:
    """Images [N, H, W] with each pixel repeated ``scale`` times in both directions."""
    return scans.repeat(scale, axis=1).repeat(scale, axis=2)


@register_dataset
def digit_sets(*, root: Text = None) -> Source:
    """One to four digits at random places of a canvas: 3,000 training and 1,200 test images, 3x48x48. Column ``digits``
    tells which digits occur.
    """
    spec = DataSpec(
        name="digit_sets",
        columns={"digits": Column("labels", tuple("0123456789"))},
        channels=3,
        image_size=SETS_SIDE,
        mean=(0.0845,) * 3,
        std=(0.2405,) * 3,
    )
    return _source(spec, draw_sets, root)


def draw_sets(pool: Pool, size: int, rng: np.random.Generator, _part: str) -> Split:
    """Canvases on which one to four digits do not overlap, and which digits these are."""
    images = np.zeros((size, SETS_SIDE, SETS_SIDE), np.uint8)
    occur = np.zeros((size, 10), np.uint8)
    for canvas, row in zip(images, occur, strict=True):
        scans, labels = pool.draw(rng, rng.integers(1, MOST_DIGITS + 1), DIGIT_SIDE // 8)
        for scan, (top, left) in zip(scans, _choose_places(rng, len(scans)), strict=True):
            canvas[top : top + DIGIT_SIDE, left : left + DIGIT_SIDE] = scan
        row[labels] = 1
    return Split(ImageArray(_three_channels(images)), {"digits": occur})


def _choose_places(rng: np.random.Generator, count: int) -> np.ndarray:
    """Corners int64 [count, 2] of squares that do not overlap."""
    while True:
        places = rng.integers(SETS_SIDE - DIGIT_SIDE + 1, size=(count, 2))
        apart = np.abs(places[:, None] - places[None]).max(axis=2) >= DIGIT_SIDE
        if (apart | np.eye(count, dtype=bool)).all():
            return places


@register_dataset
def digit_colours(*, root: Text = None, test: Pairs = "all") -> Source:
    """A digit in one of six colours: 3,000 training and 1,200 test images, 3x32x32. Columns ``digit``, ``colour`` and
    ``pair``, which has all 60 pairs of both as classes.

    Ten pairs, one for each digit, do not occur in training.

    Args:
        test: pairs of the test images: ``all``, those ``seen`` in training, or the ``held_out`` ones.
    """
    spec = DataSpec(
        name="digit_colours",
        columns={
            "digit": Column("class", tuple("0123456789")),
            "colour": Column("class", tuple(INKS)),
            "pair": Column("class", PAIRS),
        },
        channels=3,
        image_size=SIDE,
        mean=(0.2941, 0.2885, 0.2951),
        std=(0.1911, 0.1728, 0.1905),
    )

    def keep(split: Split) -> Split:
        held_out = is_held_out(split.targets["digit"], split.targets["colour"])
        return split.take(np.flatnonzero((test == "all") | (held_out == (test == "held_out"))))

    return _source(spec, draw_colours, root, keep)


def is_held_out(digit: np.ndarray, colour: np.ndarray) -> np.ndarray:
    """Whether pairs of a digit and the index of a colour are left out in training: one colour for each digit."""
    return digit % len(INKS) == colour


def draw_colours(pool: Pool, size: int, rng: np.random.Generator, part: str) -> Split:
    """A coloured digit of 24 px on a dark background that changes from one colour to another; every pair equally often.

    The training part lacks the pairs that are held out.
    """
    digit, colour = (axis.flatten() for axis in np.meshgrid(np.arange(10), np.arange(len(INKS)), indexing="ij"))
    pairs = np.flatnonzero(~is_held_out(digit, colour) | (part != "train"))
    pairs = rng.permutation(np.resize(pairs, size))
    digit, colour = digit[pairs], colour[pairs]
    inks = np.array(list(INKS.values()))[colour] + rng.integers(-25, 26, size=(size, 3))  # [N, 3]
    ends = rng.integers(0, 120, size=(2, size, 3, 1, 1))
    slope = np.linspace(0, 1, SIDE)
    slope = np.where(rng.integers(2, size=(size, 1, 1, 1)) > 0, slope[:, None], slope)  # top to bottom, left to right
    images = ends[0] * (1 - slope) + ends[1] * slope  # [N, 3, 32, 32]
    for i, image in enumerate(images):
        chosen = rng.choice(np.flatnonzero(pool.labels == digit[i]))
        scan = enlarge(pool.scans[[chosen]], COLOURED_SIDE // 8)[0] / 255
        top, left = rng.integers(SIDE - COLOURED_SIDE + 1, size=2)
        place = image[:, top : top + COLOURED_SIDE, left : left + COLOURED_SIDE]
        place += scan * (np.clip(inks[i], 0, 255)[:, None, None] - place)
    targets = {"digit": digit, "colour": colour, "pair": pairs}
    return Split(ImageArray(np.rint(images).astype(np.uint8)), {k: v.astype(np.int64) for k, v in targets.items()})


@register_dataset
def digit_sums(*, root: Text = None, inputs: Inputs = "both") -> Source:
    """Four pictured digits and two digits given as numbers: 3,000 training and 1,200 test samples. Column ``sum`` is
    the sum of all six.

    Args:
        inputs: of the network: ``pictures`` (a montage of 3x32x32), ``numbers`` (``first`` and ``second``) or ``both``.
    """
    pictured, numbered = inputs != "numbers", inputs != "pictures"
    fields = Fields(("canvas",) if pictured else (), numbers=("first", "second")) if numbered else None
    images = {"channels": 3, "image_size": SIDE, "mean": digits.SPEC.mean, "std": digits.SPEC.std} if pictured else {}
    spec = DataSpec("digit_sums", {"sum": Column("number")}, **images, fields=fields)

    def keep(split: Split) -> Split:
        return Split(split.images if pictured else None, split.targets, split.table if numbered else None)

    return _source(spec, draw_sums, root, keep, ("train", "test"))


def draw_sums(pool: Pool, size: int, rng: np.random.Generator, _part: str) -> Split:
    """Montages of two by two digits, two numbers from 0 to 9, and the sums of all six."""
    half = SIDE // 2
    scans, labels = pool.draw(rng, 4 * size, half // 8)
    images = scans.reshape(size, 2, 2, half, half).swapaxes(2, 3).reshape(size, SIDE, SIDE)
    numbers = rng.integers(10, size=(size, 2))
    total = labels.reshape(size, 4).sum(axis=1) + numbers.sum(axis=1)
    return Split(ImageArray(_three_channels(images)), {"sum": total.astype(np.float64)}, numbers.astype(np.float32))


def _three_channels(images: np.ndarray) -> np.ndarray:
    return np.repeat(images[:, None], 3, axis=1)  # for networks that take colour images


def _source(
    spec: DataSpec,
    draw: Callable[[Pool, int, np.random.Generator, str], Split],
    root: str | None,
    keep: Callable[[Split], Split] = lambda split: split,
    kept: Sequence[str] = ("test",),
) -> Source:
    """A data set drawn by ``draw``; of the parts ``kept``, ``keep`` leaves what the options ask for.

    Raises:
        UserError: a root is given, but this data set has no files.
    """
    if root:
        raise UserError(
            f"DataLoader.root does not apply to {spec.name}, which is made of scikit-learn's digits; remove it"
        )

    def load(reading: Reading) -> Dataset:
        whole, parts = digits.digits().load(reading), {}
        for seed, (part, size) in enumerate(SIZES.items()):
            split = whole.parts[part]
            pool = Pool(split.images.pixels[:, 0, ::4, ::4], split.targets["label"])
            parts[part] = draw(pool, size, np.random.default_rng(seed), part)
        official = fingerprint(parts.values()) == SHA256.get(spec.name)
        parts |= {part: keep(parts[part]) for part in kept}
        return Dataset(spec, parts, fingerprint(parts.values()), "scikit-learn", official)

    return Source(spec, load)


def fingerprint(splits: Iterable[Split]) -> str:
    """SHA256 of the images, targets and numbers of splits."""
    digest = hashlib.sha256()
    for split in splits:
        arrays = [None if split.images is None else split.images.pixels, split.table, *split.targets.values()]
        for array in arrays:
            if array is not None:
                digest.update(np.ascontiguousarray(array, array.dtype.newbyteorder("<")))
    return digest.hexdigest()
