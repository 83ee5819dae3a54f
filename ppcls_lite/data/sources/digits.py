"""The handwritten digits that come with scikit-learn, for machines without any other data set.

1,797 scans of 8x8 pixels: the test part of the UCI data set "Optical Recognition of Handwritten Digits" (Alpaydin and
Kaynak, 1998). Each pixel is repeated to 4x4 and the gray channel three times, so that CIFAR networks can be used. A
fixed, class-balanced 360 images are the test part.
"""

import numpy as np

from ppcls_lite.config.catalog import register_dataset
from ppcls_lite.config.options import Text
from ppcls_lite.data.dataset import Column, DataSpec, ImageArray, Source, Split, array_source, sha256_of
from ppcls_lite.data.splits import split_balanced
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
def digits(*, root: Text = None) -> Source:
    """Digits: 1,437 training and 360 test images, 3x32x32. Column ``value`` is the digit as a number.

    Raises:
        UserError: a root is given, but this data set has no files.
    """
    if root:
        raise UserError("DataLoader.root does not apply to digits, which come with scikit-learn; remove it")
    return array_source(SPEC, _read)


def _read() -> tuple[Split, Split, bool, str]:
    from sklearn.datasets import load_digits

    scans = load_digits()
    gray = np.rint(scans.images * (255 / 16)).astype(np.uint8)  # [N, 8, 8], scaled from 0..16
    images = np.repeat(gray.repeat(4, axis=1).repeat(4, axis=2)[:, None], 3, axis=1)
    targets = {"label": scans.target.astype(np.int64), "value": scans.target.astype(np.float64)}
    whole = Split(ImageArray(images), targets)
    test, train = split_balanced(targets["label"], TEST_IMAGES, 0, "the digits' test split")
    parts = [whole.take(indices) for indices in (train, test)]
    return *parts, sha256_of(*parts) == SHA256, "scikit-learn"
