"""Images in one folder per class."""

import os
import shutil

import numpy as np
import pytest

from ppcls_lite.config.catalog import DATASETS
from ppcls_lite.data.dataset import Reading
from ppcls_lite.data.image_file import load_image
from ppcls_lite.data.sources.image_folder import image_folder
from ppcls_lite.data.splits import split_balanced
from ppcls_lite.utils.errors import UserError

from .pictures import write_folder, write_image

READING = Reading(3, 8)


def listed(split, root):
    """Path relative to the root, and label."""
    paths = [os.path.relpath(split.images.path(i), root) for i in range(len(split))]
    return list(zip(paths, split.targets["label"].tolist(), strict=True))


def test_it_is_in_the_catalog():
    assert list(DATASETS.entry("image_folder").options) == ["root"]


@pytest.mark.parametrize("parts", [("train",), ("train", "test"), ("train", "val", "test")])
def test_parts_and_classes_are_the_folders(tmp_path, parts):
    source = image_folder(root=str(write_folder(tmp_path, parts)))
    assert source.fetch() is None
    assert source.spec.classes == ("cat", "dog") and list(source.spec.columns) == ["label"]
    assert source.spec.channels is source.spec.image_size is source.spec.mean is None
    dataset = source.load(READING)
    assert list(dataset.parts) == list(parts) and dataset.official is None and dataset.source == str(tmp_path)
    for part in parts:
        names = [(f"{part}/{name}/{k}.png", label) for label, name in enumerate(("cat", "dog")) for k in range(3)]
        assert listed(dataset.parts[part], tmp_path) == names
        assert dataset.parts[part].targets["label"].dtype == np.int64
    ((pixels, _),) = dataset.parts["train"].images.read([np.array([4])])
    assert (pixels[0] == load_image(tmp_path / "train/dog/1.png", 3, 8)).all()


def test_without_parts_all_images_are_train_and_can_be_split(tmp_path):
    write_folder(tmp_path, parts=(".",), classes=("bus", "train", "val"), images=4)
    dataset = image_folder(root=str(tmp_path)).load(READING)
    assert dataset.spec.classes == ("bus", "train", "val") and list(dataset.parts) == ["train"]
    train = dataset.parts["train"]
    chosen, rest = split_balanced(train.targets["label"], 3, 0, "DataLoader.val_fraction")
    assert sorted(train.take(chosen).targets["label"]) == [0, 1, 2]
    assert len(train.take(rest).images) == 9


def test_folders_below_a_class_hidden_files_other_files_and_links(tmp_path):
    write_folder(tmp_path, ("train",))
    train = tmp_path / "train"
    write_image(train / "cat" / "more" / "deep" / "9.JPEG")
    write_image(train / ".hidden" / "x.png")
    write_image(train / "cat" / ".x.png")
    (train / "cat" / "notes.txt").write_text("cats")
    os.rename(train / "cat" / "1.png", os.fsencode(train / "cat") + b"/1\xff.png")
    (train / "dog" / "3.png").symlink_to(train / "cat" / "0.png")
    shutil.move(train / "dog", tmp_path / ".dogs")
    (tmp_path / ".dogs" / "again").symlink_to(tmp_path / ".dogs")  # leads round in a circle
    (train / "dog").symlink_to(tmp_path / ".dogs")
    found = listed(image_folder(root=str(tmp_path)).load(READING).parts["train"], tmp_path)
    assert [os.fsencode(path) for path, _ in found] == [
        *(b"train/cat/" + name for name in (b"0.png", b"1\xff.png", b"2.png", b"more/deep/9.JPEG")),
        *(b"train/dog/" + name for name in (b"0.png", b"1.png", b"2.png", b"3.png")),
    ]
    assert [label for _, label in found] == [0] * 4 + [1] * 4


def test_folders_without_images_beside_train_do_not_matter(tmp_path):
    write_folder(tmp_path)
    (tmp_path / "annotations" / "cat").mkdir(parents=True)
    (tmp_path / "annotations" / "cat" / "0.xml").write_text("<x/>")
    assert list(image_folder(root=str(tmp_path)).load(READING).parts) == ["train", "test"]


def test_images_outside_classes_are_left_out_with_a_warning(tmp_path, caplog):
    write_folder(tmp_path, ("train",))
    write_image(tmp_path / "train" / "cover.png")
    assert len(image_folder(root=str(tmp_path)).load(READING).parts["train"]) == 6
    assert "1 image outside the class folders" in caplog.text


def test_a_part_may_lack_images_of_a_class(tmp_path):
    write_folder(tmp_path)
    shutil.rmtree(tmp_path / "test" / "dog")
    (tmp_path / "test" / "dog").mkdir()
    assert image_folder(root=str(tmp_path)).load(READING).parts["test"].targets["label"].tolist() == [0] * 3


def test_the_fingerprint_is_that_of_the_files(tmp_path):
    def fingerprint():
        return image_folder(root=str(tmp_path / "data")).load(READING).sha256

    write_folder(tmp_path / "data")
    before = fingerprint()
    shutil.copytree(tmp_path / "data", tmp_path / "copy")
    assert image_folder(root=str(tmp_path / "copy")).load(READING).sha256 == before
    write_image(tmp_path / "data" / "test" / "cat" / "1.png", size=(30, 30))
    assert fingerprint() != before


def test_a_root_may_be_relative_to_the_home_or_the_working_directory(tmp_path, monkeypatch):
    write_folder(tmp_path / "data")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for root in ("~/data", "data", "data/", "./data"):
        train = image_folder(root=root).load(READING).parts["train"]
        assert train.images.names.name(0) == b"train/cat/0.png" and os.path.exists(train.images.path(0))
    monkeypatch.chdir(tmp_path / "data")
    assert image_folder(root=".").load(READING).parts["train"].images.names.name(0) == b"train/cat/0.png"


def single_class(root):
    write_folder(root, ("train",), ("images",))


def flat(root):
    write_image(root / "0.png")


def flat_test(root):
    write_folder(root, ("train",))
    write_image(root / "test" / "0.png")


def class_of_test_alone(root):
    write_folder(root)
    write_image(root / "test" / "cow" / "0.png")


def empty_class(root):
    write_folder(root)
    (root / "train" / "ant").mkdir()


def texts_alone(root):
    write_folder(root, ("train",))
    (root / "train" / "ant").mkdir()
    (root / "train" / "ant" / "0.txt").write_text("ant")


def empty_test(root):
    write_folder(root)
    for name in ("cat", "dog"):
        shutil.rmtree(root / "test" / name)
        (root / "test" / name).mkdir()


def class_beside_train(root):
    write_folder(root)
    write_image(root / "cow" / "0.png")


def misnamed_part(root):
    write_folder(root, ("train", "valid"))


def no_train(root):
    write_folder(root, ("test",))


def broken_link(root):
    write_folder(root)
    (root / "train" / "cat" / "9.png").symlink_to(root / "nowhere.png")


BROKEN = {
    "nothing there": (lambda root: None, "does not exist; expected a folder with train/CLASS"),
    "a file": (lambda root: root.write_text(""), "is a file; expected a folder"),
    "an empty folder": (lambda root: root.mkdir(), "has no folders, but at least two classes are needed"),
    "images without classes": (flat, "has no folders, but at least two classes"),
    "a single class": (single_class, "has a single folder, images/"),
    "test images without classes": (flat_test, "test has no class folders; expected test/CLASS/"),
    "a class of the test images alone": (class_of_test_alone, "test has the class folder cow/, which .*train lacks"),
    "a class without images": (empty_class, "train/ant has no images"),
    "a class of text files": (texts_alone, "train/ant has no images"),
    "test classes without images": (empty_test, "test/cat has no images"),
    "a class beside train": (class_beside_train, "also a folder cow/ with images, but only val/ and test/"),
    "valid for val": (misnamed_part, "also a folder valid/ with images"),
    "test without train": (no_train, "has class folders in test/ but not in train/"),
    "a link that leads nowhere": (broken_link, "1 file of 7 .* cannot be found, first .*train/cat/9.png"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_mistakes_are_told_in_one_sentence(case, tmp_path):
    make, message = BROKEN[case]
    make(tmp_path / "data")
    with pytest.raises(UserError, match=message) as refused:
        image_folder(root=str(tmp_path / "data")).load(READING)
    assert str(tmp_path / "data") in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize("root", [None, ""])
def test_a_root_is_needed(root):
    with pytest.raises(UserError, match=r"image_folder needs DataLoader\.root"):
        image_folder(root=root)
