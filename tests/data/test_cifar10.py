"""CIFAR-10: found in every place, read the same from archive and folder, refused where it is something else."""

import os
import pickle
import shutil

import numpy as np
import pytest

from ppcls_lite.data import load_dataset
from ppcls_lite.data.sources import cifar10
from ppcls_lite.utils.errors import UserError
from tests.data.archives import batch, write_archive, write_folder


@pytest.fixture
def folder(tmp_path, rng):
    return write_folder(tmp_path / "extracted", rng)


def test_archive_and_folder_hold_the_same_images(folder, tmp_path):
    from_folder = load_dataset("cifar10", folder.parent)
    shutil.move(write_archive(folder.parent, folder), tmp_path / "cifar-10-python.tar.gz")
    for root in (tmp_path, tmp_path / "cifar-10-python.tar.gz", folder):
        dataset = load_dataset("cifar10", root)
        assert dataset.sha256 == from_folder.sha256
        assert not dataset.official  # md5 sums tell the official files from copies
    assert from_folder.parts["train"].images.pixels.shape == (100, 3, 32, 32)
    assert from_folder.parts["test"].targets["label"].shape == (20,)


def test_batches_are_read_in_order_and_channel_first(folder):
    dataset = load_dataset("cifar10", folder)
    raw = pickle.loads((folder / "data_batch_3").read_bytes(), encoding="bytes")
    np.testing.assert_array_equal(dataset.parts["train"].images.pixels[40, 1].ravel(), raw[b"data"][0, 1024:2048])
    assert list(dataset.parts["train"].targets["label"][40:60]) == raw[b"labels"]


def test_root_then_environment_then_cache(folder, tmp_path, rng, monkeypatch):
    monkeypatch.setattr("paddle.dataset.common.DATA_HOME", str(tmp_path / "home"))
    cached = write_folder(tmp_path / "home" / "cifar", rng)
    assert cifar10.find() == cached
    elsewhere = write_folder(tmp_path / "elsewhere", rng)
    monkeypatch.setenv("PPCLS_DATA", str(elsewhere.parent))
    assert cifar10.find() == elsewhere
    assert cifar10.find(folder.parent) == folder


def test_a_root_without_it_is_an_error_and_no_reason_to_look_elsewhere(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("PPCLS_DATA", str(folder.parent))
    with pytest.raises(UserError, match=r"lacks cifar-10-python.tar.gz or the folder"):
        cifar10.find(tmp_path / "nowhere")


def test_a_failed_download_says_where_to_put_the_archive_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.delenv("PPCLS_DATA", raising=False)
    monkeypatch.setattr("paddle.dataset.common.DATA_HOME", str(tmp_path))

    def no_network(*_args, **_kwargs):
        raise RuntimeError("Cannot download")

    monkeypatch.setattr("paddle.dataset.common.download", no_network)
    with pytest.raises(UserError, match=r"download failed \(Cannot download\).*-o DataLoader.root=FOLDER"):
        load_dataset("cifar10")
    assert not (tmp_path / "cifar" / cifar10.ARCHIVE).exists()


def test_what_is_found_is_never_downloaded_again(folder, monkeypatch):
    monkeypatch.setattr("paddle.dataset.common.download", lambda *a, **k: pytest.fail("downloaded"))
    load_dataset("cifar10", folder.parent)


def replace_batch(folder, name="data_batch_2", **changes):
    content = pickle.loads((folder / name).read_bytes(), encoding="bytes")
    content.update({key.encode(): value for key, value in changes.items()})
    (folder / name).write_bytes(pickle.dumps({k: v for k, v in content.items() if v is not None}, protocol=2))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: (f / "test_batch").unlink(), "lacks test_batch: it is damaged or not the CIFAR-10 python version"),
        (lambda f: (f / "data_batch_2").write_bytes(b"\x80\x04junk"), "data_batch_2 is damaged"),
        (lambda f: (f / "data_batch_2").write_bytes(pickle.dumps([1])), "data_batch_2 has no images"),
        (lambda f: replace_batch(f, data=None), "data_batch_2 has no images as uint8"),
        (lambda f: replace_batch(f, data=np.zeros((20, 3072))), "data_batch_2 has no images as uint8"),
        (lambda f: replace_batch(f, labels=[0] * 19), "data_batch_2 has no labels 0 to 9"),
        (lambda f: replace_batch(f, labels=[10] * 20), "data_batch_2 has no labels 0 to 9"),
        (lambda f: replace_batch(f, labels=["cat"] * 20), "data_batch_2 has no labels 0 to 9"),
        (lambda f: replace_batch(f, labels=None, fine_labels=[0] * 20), "it is not a CIFAR-10 batch"),
        (lambda f: os.truncate(f / "data_batch_2", 1000), "data_batch_2 is damaged"),
    ],
)
def test_damaged_or_other_files_are_named(folder, tmp_path, spoil, message):
    spoil(folder)
    for root in (folder, write_archive(tmp_path, folder)):
        with pytest.raises(UserError, match=message):
            load_dataset("cifar10", root)


@pytest.mark.parametrize("size", [0, 100, 30_000])
def test_a_truncated_archive_is_named(folder, tmp_path, size):
    archive = write_archive(tmp_path, folder)
    os.truncate(archive, size)
    with pytest.raises(UserError, match=r"cifar-10-python.tar.gz is damaged or not a tar archive"):
        load_dataset("cifar10", archive)


def test_a_pickle_that_would_run_code_is_refused(folder, tmp_path, rng, monkeypatch):
    class Hostile:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "hacked"),)

    (folder / "data_batch_1").write_bytes(pickle.dumps({**batch(rng), b"data": Hostile()}, protocol=2))
    with pytest.raises(UserError, match=r"data_batch_1 contains \w+.mkdir"):
        load_dataset("cifar10", folder)
    assert not (tmp_path / "hacked").exists()
