"""The handwritten digits that come with scikit-learn: the data set of a machine that has no other.

1,797 scans of 8x8 pixels, the test part of the UCI data set "Optical Recognition of Handwritten Digits" (Alpaydin and
Kaynak, 1998). Here each pixel is repeated to 4x4 and the gray channel three times, so that CIFAR networks take them,
and a fixed, class-balanced 360 of them are the test images.
"""

import numpy as np

from ppcls_lite.config.catalog import register_dataset
from ppcls_lite.config.options import Text
from ppcls_lite.data.dataset import ArraySource, Column, DataSpec, Split, labeled, sha256_of, split_balanced
from ppcls_lite.utils.errors import UserError

SPEC = DataSpec(
    name="digits",
    columns={"label": Column("class", tuple("0123456789")), "value": Column("number")},
    channels=3,
    image_size=32,
    mean=(0.3056,) * 3,
    std=(0.3763,) * 3,
)
TEST_IMAGES = 360
SHA256 = "c12c41fb5c63496a6b0b9c8817177b7ab10cde04b48d3b1eb034b148fa7a4a8e"  # with scikit-learn 1.9


@register_dataset
def digits(*, root: Text = None) -> ArraySource:
    """The digits: 1,437 training and 360 test images, 3x32x32; column ``value`` is the digit as a number.

    Raises:
        UserError: a root is given; this data set has no files.
    """
    if root:
        raise UserError("DataLoader.root does not apply to digits, which come with scikit-learn; leave it out")
    return ArraySource(SPEC, _read)


def _read() -> tuple[Split, Split, bool, str]:
    from sklearn.datasets import load_digits

    scans = load_digits()
    gray = np.rint(scans.images * (255 / 16)).astype(np.uint8)  # [N, 8, 8], from 0..16
    images = np.repeat(gray.repeat(4, axis=1).repeat(4, axis=2)[:, None], 3, axis=1)
    whole = labeled(images, scans.target.astype(np.int64))
    test, train = split_balanced(whole.targets["label"], TEST_IMAGES, 0, "the digits' test split")
    parts = [_with_value(whole.take(indices)) for indices in (train, test)]
    return *parts, sha256_of(*parts) == SHA256, "scikit-learn"


def _with_value(split: Split) -> Split:
    return Split(split.images, {**split.targets, "value": split.targets["label"].astype(np.float64)})
