"""CIFAR-10 from its official Python archive or the folder extracted from it.

Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009.
"""

import bz2
import gzip
import hashlib
import io
import lzma
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ppcls_lite.config.catalog import register_dataset
from ppcls_lite.config.options import Text
from ppcls_lite.data.dataset import Column, DataSpec, Source, Split, array_source, labeled
from ppcls_lite.data.places import Published
from ppcls_lite.utils.errors import UserError
from ppcls_lite.weights import pickles

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
SPEC = DataSpec(
    name="cifar10",
    columns={"label": Column("class", CLASSES)},
    channels=3,
    image_size=32,
    mean=(0.4914, 0.4822, 0.4465),
    std=(0.2470, 0.2435, 0.2616),
)

ARCHIVE, FOLDER = "cifar-10-python.tar.gz", "cifar-10-batches-py"
URL = "https://dataset.bj.bcebos.com/cifar/cifar-10-python.tar.gz"  # as in paddle.vision.datasets.Cifar10
ARCHIVE_MD5 = "c58f30108f718f92721af3b95e74349a"

# md5 of the official files, as in torchvision and Keras.
BATCH_MD5 = {
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "test_batch": "40351d587109b95175f43aff81a1287e",
}
MAX_BATCH_BYTES = 64 << 20  # an official batch has 31 MB
MAX_ARCHIVE_BYTES = 256 << 20  # unpacked; the official archive has 187 MB
MAX_MEMBERS = 1000  # files and folders; the official archive has 9


@register_dataset
def cifar10(*, root: Text = None) -> Source:
    """CIFAR-10: 50,000 training and 10,000 test images, 3x32x32."""
    return array_source(SPEC, lambda: _read(find(root)), lambda: find(root))


def _look_in(place: Path) -> Path | None:
    """``place`` if it is the archive or the folder, else either of them inside it."""
    if place.is_file() or (place / "data_batch_1").is_file():
        return place
    return next((path for path in (place / FOLDER, place / ARCHIVE) if path.exists()), None)


PUBLISHED = Published(
    "CIFAR-10", "cifar", f"{ARCHIVE} or the folder {FOLDER}", _look_in, lambda: {ARCHIVE: (URL, ARCHIVE_MD5)}
)
find, locate = PUBLISHED.find, PUBLISHED.locate


def _read(source: Path) -> tuple[Split, Split, bool, str]:
    raw = dict(_read_folder(source) if source.is_dir() else _read_archive(source))
    missing = [name for name in BATCH_MD5 if name not in raw]
    if missing:
        raise UserError(f"{source} lacks {', '.join(missing)}: it is damaged or not the CIFAR-10 python version")
    official = all(hashlib.md5(raw[name]).hexdigest() == md5 for name, md5 in BATCH_MD5.items())
    batches = {name: _parse(data, f"{source}: {name}") for name, data in raw.items()}
    images, labels = zip(*(batches[f"data_batch_{i}"] for i in range(1, 6)), strict=True)
    train = labeled(np.concatenate(images), np.concatenate(labels))
    return train, labeled(*batches["test_batch"]), official, str(source)


def _read_folder(folder: Path) -> Iterator[tuple[str, bytes]]:
    for name in BATCH_MD5:
        path = folder / name
        if path.is_file():
            if path.stat().st_size > MAX_BATCH_BYTES:
                raise UserError(f"{path} has more than {MAX_BATCH_BYTES >> 20} MiB: it is not a CIFAR-10 batch")
            yield name, path.read_bytes()


def _read_archive(archive: Path) -> Iterator[tuple[str, bytes]]:
    """The batches by name. They are read into memory, so paths in the archive can do no harm."""
    try:
        with tarfile.open(fileobj=_unpack(archive), mode="r:") as tar:
            for number, member in enumerate(tar, 1):
                if number > MAX_MEMBERS:
                    raise UserError(f"{archive} has more than {MAX_MEMBERS} files: it is not the CIFAR-10 archive")
                folder, _, name = member.name.rpartition("/")
                if member.isfile() and name in BATCH_MD5 and folder.removeprefix("./") == FOLDER:
                    if member.size > MAX_BATCH_BYTES:
                        raise UserError(f"{archive}: {name} has more than {MAX_BATCH_BYTES >> 20} MiB")
                    yield name, tar.extractfile(member).read()
    except UserError:
        raise
    except (tarfile.TarError, EOFError, OSError, ValueError, zlib.error, lzma.LZMAError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"{archive} is damaged or not a tar archive ({reason}); download it again") from None


def _unpack(archive: Path) -> io.BytesIO:
    """The tar archive in a file, which may be compressed with gzip, bzip2 or xz."""
    openers = {b"\x1f\x8b": gzip.open, b"BZ": bz2.open, b"\xfd7": lzma.open}
    with open(archive, "rb") as file:
        opener = openers.get(file.read(2), open)
    with opener(archive, "rb") as file:
        data = file.read(MAX_ARCHIVE_BYTES + 1)
    if len(data) > MAX_ARCHIVE_BYTES:
        raise UserError(f"{archive} unpacks to more than {MAX_ARCHIVE_BYTES >> 20} MiB: it is not the CIFAR-10 archive")
    return io.BytesIO(data)


def _parse(data: bytes, source: str) -> tuple[np.ndarray, np.ndarray]:
    batch = pickles.loads(data, source, encoding="bytes")
    items = batch.items() if isinstance(batch, dict) else ()
    values = {key.decode() if isinstance(key, bytes) else str(key): value for key, value in items}
    images, labels = values.get("data"), values.get("labels")
    if not isinstance(images, np.ndarray) or images.dtype != np.uint8 or images.shape[1:] != (3072,) or not len(images):
        raise UserError(f"{source} has no images as uint8 [N, 3072]: it is not a CIFAR-10 batch")
    try:
        labels = np.asarray(labels, dtype=np.int64)
    except (TypeError, ValueError, OverflowError):
        labels = np.empty(0, np.int64)
    if labels.shape != images.shape[:1] or not ((labels >= 0) & (labels < len(CLASSES))).all():
        raise UserError(f"{source} has no labels 0 to 9, one for each image: it is not a CIFAR-10 batch")
    return images.reshape(-1, 3, 32, 32), labels
