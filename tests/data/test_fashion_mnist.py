"""Fashion-MNIST: its files, and what is wrong with them."""

import gzip
import struct

import numpy as np
import pytest

from ppcls_lite.data import load_dataset
from ppcls_lite.data.sources import fashion_mnist
from ppcls_lite.utils.errors import UserError


def write(folder, rng, images=12):
    """The four files in the published format, with few images; returns what they hold."""
    folder.mkdir(parents=True, exist_ok=True)
    held = {}
    for part, names in fashion_mnist.FILES.items():
        pixels = rng.integers(0, 256, (images, 28, 28), dtype=np.uint8)
        labels = (np.arange(images) % 10).astype(np.uint8)
        with gzip.open(folder / names[0], "wb") as file:
            file.write(struct.pack(">IIII", 0x803, images, 28, 28) + pixels.tobytes())
        with gzip.open(folder / names[1], "wb") as file:
            file.write(struct.pack(">II", 0x801, images) + labels.tobytes())
        held[part] = (pixels, labels)
    return held


@pytest.mark.parametrize("under", [".", "fashion-mnist"])
def test_the_files_are_read_from_a_folder_or_one_inside_it(under, rng, tmp_path):
    held = write(tmp_path / under, rng)
    dataset = load_dataset("fashion_mnist", tmp_path)
    for part, split in dataset.parts.items():
        np.testing.assert_array_equal(split.images.pixels[:, 0], held[part][0])
        np.testing.assert_array_equal(split.targets["label"], held[part][1])
    assert split.images.pixels.dtype == np.uint8 and split.targets["label"].dtype == np.int64 and not dataset.official


def test_they_are_found_by_the_environment_and_equal_paddle_s_reading(rng, tmp_path, monkeypatch):
    from paddle.vision.datasets import FashionMNIST

    write(tmp_path / "fashion-mnist", rng, images=200)  # paddle reads a hundred at a time
    monkeypatch.setenv("PPCLS_DATA", str(tmp_path))
    ours = load_dataset("fashion_mnist").parts["train"]
    paths = [str(tmp_path / "fashion-mnist" / name) for name in fashion_mnist.FILES["train"]]
    theirs = FashionMNIST(*paths, mode="train", backend="cv2")
    np.testing.assert_array_equal(ours.images.pixels[:, 0], np.stack([theirs[i][0] for i in range(200)]))
    np.testing.assert_array_equal(ours.targets["label"], [int(theirs[i][1][0]) for i in range(200)])


def truncate(path):
    path.write_bytes(path.read_bytes()[:-40])


def rewrite(content):
    def spoil(path):
        with gzip.open(path, "wb") as file:
            file.write(content)

    return spoil


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (truncate, "is damaged"),
        (lambda path: path.write_bytes(b"no gzip"), "is damaged"),
        (rewrite(b"short"), "is damaged"),
        (rewrite(struct.pack(">IIII", 0x803, 2**31, 2**31, 28)), "too large"),
        (rewrite(struct.pack(">IIII", 0x803, 12, 28, 28) + bytes(100)), "expected 9408"),
        (rewrite(struct.pack(">IIII", 0x803, 12, 14, 14) + bytes(12 * 196)), "do not hold 28x28 images"),
        (rewrite(struct.pack(">IIII", 0x803, 3, 28, 28) + bytes(3 * 784)), "do not hold 28x28 images"),
    ],
)
def test_damaged_files_are_named(spoil, message, rng, tmp_path):
    write(tmp_path, rng)
    spoil(tmp_path / "train-images-idx3-ubyte.gz")
    with pytest.raises(UserError, match=message) as error:
        load_dataset("fashion_mnist", tmp_path)
    assert str(tmp_path) in str(error.value)


def test_missing_files_are_named(tmp_path):
    with pytest.raises(UserError, match=r"lacks train-images-idx3-ubyte\.gz"):
        load_dataset("fashion_mnist", tmp_path)


def test_a_download_becomes_the_files_only_when_it_is_whole(rng, tmp_path, monkeypatch):
    write(tmp_path / "published", rng)
    folder = tmp_path / "home" / "fashion-mnist"
    folder.mkdir(parents=True)

    def download(url, module, md5, save_name):
        if "t10k-labels" in save_name and not whole:
            raise RuntimeError("the line is dead")
        target = folder / save_name
        target.write_bytes((tmp_path / "published" / url.rpartition("/")[2]).read_bytes())
        return str(target)

    monkeypatch.delenv("PPCLS_DATA", raising=False)
    monkeypatch.setattr("paddle.dataset.common.DATA_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("paddle.dataset.common.download", download)
    whole = False
    with pytest.raises(UserError, match=r"the download failed \(the line is dead\)"):
        load_dataset("fashion_mnist")
    whole = True
    assert len(load_dataset("fashion_mnist").parts["test"]) == 12
    assert not list(folder.glob("*.part"))
