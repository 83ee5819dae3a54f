"""Reading every file of a data set once."""

import shutil

import numpy as np
import pytest

from ppcls_lite.data.check import check_files
from ppcls_lite.data.dataset import Column, Dataset, DataSpec, Reading, labeled
from ppcls_lite.data.sources.image_folder import image_folder
from ppcls_lite.utils.errors import UserError

from .pictures import write_folder


def load(root, skip=False):
    return image_folder(root=str(root)).load(Reading(3, 8, skip=skip))


def test_a_sound_data_set(tmp_path, capfd):
    report = check_files(load(write_folder(tmp_path, ("train", "val", "test"))))
    assert report.ok and report.files == {"train": 6, "val": 6, "test": 6}
    assert report.describe() == (
        "18 files read (train 6, val 6, test 6): 0 unreadable files, 0 images in more than one part"
    )
    assert "18/18" in capfd.readouterr().err


@pytest.mark.parametrize("num_workers", [0, 2])
def test_all_damaged_files_and_all_that_lie_in_two_parts_are_listed(tmp_path, num_workers, capfd):
    write_folder(tmp_path, ("train", "val", "test"), images=20)
    train, val, test = (tmp_path / part for part in ("train", "val", "test"))
    shutil.copy(train / "cat" / "3.png", test / "dog" / "copy.png")
    shutil.copy(train / "cat" / "3.png", val / "cat" / "5.png")
    shutil.copy(val / "dog" / "17.png", test / "dog" / "17.png")
    shutil.copy(train / "dog" / "1.png", train / "dog" / "2.png")  # in one part
    (train / "dog" / "4.png").write_text("none")
    (test / "cat" / "0.png").write_bytes((test / "cat" / "1.png").read_bytes()[:100])
    (test / "cat" / "2.png").write_text("none")  # the same as one of train, and no image
    report = check_files(load(tmp_path), num_workers, progress=False)
    assert not report.ok
    assert [path for path, _ in report.unreadable] == [
        str(train / "dog" / "4.png"),
        str(test / "cat" / "0.png"),
        str(test / "cat" / "2.png"),
    ]
    copies = [
        [("train", str(train / "cat" / "3.png")), ("val", str(val / "cat" / "5.png"))],
        [("val", str(val / "dog" / "17.png")), ("test", str(test / "dog" / "17.png"))],
    ]
    copies[0].append(("test", str(test / "dog" / "copy.png")))
    assert [list(group) for group in report.shared] == copies
    lines = report.describe().splitlines()
    assert len(lines) == 6
    assert lines[0] == f"unreadable: {report.unreadable[0][1]}" and "not an image file" in lines[0]
    assert lines[3].startswith("same contents: train ") and "dog/copy.png" in lines[3]
    assert lines[5].endswith("3 unreadable files, 2 images in more than one part")
    assert not capfd.readouterr().err


def test_missing_files_are_listed(tmp_path):
    write_folder(tmp_path)
    (tmp_path / "test" / "cat" / "odd\n.png").symlink_to(tmp_path / "nowhere")
    report = check_files(load(tmp_path, skip=True), progress=False)
    assert "No such file" in report.describe() and len(report.describe().splitlines()) == 2


def test_arrays_have_no_files_to_check():
    split = labeled(np.zeros((2, 3, 4, 4), np.uint8), np.arange(2))
    dataset = Dataset(DataSpec("digits", {"label": Column("class", ("0", "1"))}), {"train": split}, "", "")
    with pytest.raises(UserError, match="digits is not a data set of image files"):
        check_files(dataset)
