"""Fashion-MNIST from its four published files.

Xiao et al., "Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning Algorithms", arXiv:1708.07747.
"""

import gzip
import struct
import zlib
from pathlib import Path

import numpy as np

from ppcls_lite.config.catalog import register_dataset
from ppcls_lite.config.options import Text
from ppcls_lite.data.dataset import Column, DataSpec, Source, Split, array_source, labeled
from ppcls_lite.data.places import Published
from ppcls_lite.utils.errors import UserError
from ppcls_lite.utils.files import digest

CLASSES = ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
SPEC = DataSpec(
    name="fashion_mnist",
    columns={"label": Column("class", CLASSES)},
    channels=1,
    image_size=28,
    mean=(0.2860,),
    std=(0.3530,),
)
FOLDER = "fashion-mnist"
FILES = {  # images and labels
    "train": ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"),
    "test": ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"),
}
NAMES = [*FILES["train"], *FILES["test"]]
MAX_FILE_BYTES = 64 << 20  # the largest published file has 26 MB


@register_dataset
def fashion_mnist(*, root: Text = None) -> Source:
    """Fashion-MNIST: 60,000 training and 10,000 test images, 1x28x28."""
    return array_source(SPEC, lambda: _read_folder(PUBLISHED.find(root)), lambda: PUBLISHED.find(root))


def _look_in(place: Path) -> Path | None:
    folders = (place, place / FOLDER)
    return next((folder for folder in folders if all((folder / name).is_file() for name in NAMES)), None)


def _published_files() -> dict[str, tuple[str, str]]:
    from paddle.vision.datasets import FashionMNIST as Paddle

    md5 = (Paddle.TRAIN_IMAGE_MD5, Paddle.TRAIN_LABEL_MD5, Paddle.TEST_IMAGE_MD5, Paddle.TEST_LABEL_MD5)
    return {name: (Paddle.URL_PREFIX + name, value) for name, value in zip(NAMES, md5, strict=True)}


PUBLISHED = Published(
    "Fashion-MNIST", FOLDER, f"{', '.join(NAMES)} (or a folder {FOLDER} with them)", _look_in, _published_files
)


def _read_folder(folder: Path) -> tuple[Split, Split, bool, str]:
    train, test = _read(folder, "train"), _read(folder, "test")
    official = all(digest(folder / name, "md5") == md5 for name, (_, md5) in _published_files().items())
    return train, test, official, str(folder)


def _read(folder: Path, part: str) -> Split:
    images, labels = (_read_idx(folder / name, axes) for name, axes in zip(FILES[part], (3, 1), strict=True))
    side = SPEC.image_size
    fits = images.shape[1:] == (side, side) and 0 < len(images) == len(labels)
    if not fits or labels.max() >= len(CLASSES):
        raise UserError(f"{folder}: {' and '.join(FILES[part])} do not hold {side}x{side} images with labels 0 to 9")
    return labeled(images[:, None], labels.astype(np.int64))


def _read_idx(path: Path, axes: int) -> np.ndarray:
    """An array of bytes in the IDX format: big-endian magic number 0x0800 + axes, the lengths, the bytes."""
    try:
        with gzip.open(path) as file:
            magic, *shape = struct.unpack(f">{1 + axes}I", file.read(4 * (1 + axes)))
            size = int(np.prod(shape, dtype=object))
            if magic != 0x0800 + axes or size > MAX_FILE_BYTES:
                raise ValueError("not an IDX file of bytes, or too large")
            data = file.read(size + 1)
            if len(data) != size:
                raise ValueError(f"it holds {len(data)} bytes, expected {size}")
    except (OSError, EOFError, ValueError, struct.error, zlib.error) as error:
        raise UserError(f"{path} is damaged ({str(error) or type(error).__name__}); download it again") from None
    return np.frombuffer(data, np.uint8).reshape(shape)
