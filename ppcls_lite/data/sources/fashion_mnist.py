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
from ppcls_lite.data import places
from ppcls_lite.data.dataset import ArraySource, Column, DataSpec, Split, labeled
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
# Images and labels, the published files and their md5, as paddle.vision.datasets.FashionMNIST checks them.
FILES = {
    "train": ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"),
    "test": ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"),
}
MAX_FILE_BYTES = 64 << 20  # the largest published one has 26 MB


@register_dataset
def fashion_mnist(*, root: Text = None) -> ArraySource:
    """Fashion-MNIST: 60,000 training and 10,000 test images, 1x28x28."""
    return ArraySource(SPEC, lambda: _read_folder(root), lambda: find(root))


def _read_folder(root: str | Path | None) -> tuple[Split, Split, bool, str]:
    folder = find(root)
    train, test = _read(folder, "train"), _read(folder, "test")
    official = all(digest(folder / name, "md5") == md5 for name, md5 in _published().items())
    return train, test, official, str(folder)


def find(root: str | Path | None = None) -> Path:
    """The folder with the four files; downloaded where they are nowhere.

    Raises:
        UserError: ``root`` is given and lacks them, or nothing was found and the download failed.
    """
    found = places.locate("Fashion-MNIST", root, FOLDER, _look_in)
    if found is None and root:
        raise UserError(f"DataLoader.root {root} lacks {', '.join(_names())} (or a folder {FOLDER} with them)")
    if found is None:
        from paddle.vision.datasets import FashionMNIST as Published

        files = {name: (Published.URL_PREFIX + name, md5) for name, md5 in _published().items()}
        places.download("Fashion-MNIST", FOLDER, files)
    return found or places.cache_folder(FOLDER)


def _names() -> list[str]:
    return [name for pair in FILES.values() for name in pair]


def _look_in(place: Path) -> Path | None:
    folders = [folder for folder in (place, place / FOLDER) if all((folder / name).is_file() for name in _names())]
    return folders[0] if folders else None


def _published() -> dict[str, str]:
    """File names and md5."""
    from paddle.vision.datasets import FashionMNIST as Published

    md5 = (Published.TRAIN_IMAGE_MD5, Published.TRAIN_LABEL_MD5, Published.TEST_IMAGE_MD5, Published.TEST_LABEL_MD5)
    return dict(zip(_names(), md5, strict=True))


def _read(folder: Path, part: str) -> Split:
    images, labels = (_read_idx(folder / name, axes) for name, axes in zip(FILES[part], (3, 1), strict=True))
    side = SPEC.image_size
    fits = images.shape[1:] == (side, side) and 0 < len(images) == len(labels)
    if not fits or labels.max() >= len(CLASSES):
        raise UserError(f"{folder}: {' and '.join(FILES[part])} do not hold {side}x{side} images with labels 0 to 9")
    return labeled(images[:, None], labels.astype(np.int64))


def _read_idx(path: Path, axes: int) -> np.ndarray:
    """An array of bytes in the IDX format (big-endian magic number 0x08 AXES, lengths, bytes)."""
    try:
        with gzip.open(path) as file:
            magic, *shape = struct.unpack(f">{1 + axes}I", file.read(4 * (1 + axes)))
            size = int(np.prod(shape, dtype=object))
            if magic != 0x0800 + axes or size > MAX_FILE_BYTES:
                raise ValueError("not an IDX file of bytes, or too large")
            data = file.read(size + 1)
    except (OSError, EOFError, ValueError, struct.error, zlib.error) as error:
        raise UserError(f"{path} is damaged ({str(error) or type(error).__name__}); fetch it again") from None
    if len(data) != size:
        raise UserError(f"{path} is damaged (it holds {len(data)} bytes, expected {size}); fetch it again")
    return np.frombuffer(data, np.uint8).reshape(shape)
