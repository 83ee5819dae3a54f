"""Images in the rows of a CSV file."""

import numpy as np
import pytest

from ppcls_lite.config.catalog import DATASETS
from ppcls_lite.data import Reading, open_source
from ppcls_lite.data.check import check_files
from ppcls_lite.data.pipeline import Augmentation, parse_transforms
from ppcls_lite.data.sources import csv_pixels as rows
from ppcls_lite.data.sources.csv_pixels import parse_pixels
from ppcls_lite.utils.errors import UserError

READING = Reading(1, 4)
NUMBER = 11


def make(number=NUMBER, values=16):
    """Pixels uint8 [number, values]."""
    return np.random.default_rng(0).integers(0, 256, (number, values), dtype=np.uint8)


def write(path, pixels, labels, header="", end="\n", place=0):
    lines = [header] if header else []
    for label, row in zip(labels, pixels.tolist(), strict=True):
        cells = list(map(str, row))
        lines.append(",".join([*cells[:place], str(label), *cells[place:]]))
    path.write_bytes(end.join([*lines, ""]).encode())


@pytest.fixture
def path(tmp_path):
    """Eleven gray images of 4x4 in two classes, without a header."""
    write(tmp_path / "train.csv", make(), [i % 2 for i in range(NUMBER)])
    return tmp_path / "train.csv"


def open_rows(path, **options):
    return open_source("csv_pixels", path, options)


def read(split, batches=None, augmentation=None):
    batches = [np.arange(len(split))] if batches is None else batches
    return list(split.images.read(batches, augmentation))


def test_its_options():
    assert tuple(DATASETS.entry("csv_pixels").options) == ("root", "test", "label", "shape", "channels")


@pytest.mark.parametrize("end", ["\n", "\r\n", "\n\n", " \n"])
@pytest.mark.parametrize(
    ("header", "place", "options"),
    [
        ("", 0, {}),
        ("label," + ",".join(f"pixel{i}" for i in range(16)), 0, {}),
        (",".join([*map(str, range(16)), '"label"']), 16, {}),
        (",".join(["a", "b", "kind", *map(str, range(14))]), 2, {"label": "kind"}),
        (",".join(f"column{i}" for i in range(17)), 0, {}),
    ],
)
def test_pixels_and_labels(tmp_path, header, place, options, end):
    pixels = make()
    write(tmp_path / "x.csv", pixels, [f"{i % 3}" for i in range(NUMBER)], header, end, place)
    source = open_rows(tmp_path / "x.csv", **options)
    spec = source.spec
    assert (spec.channels, spec.image_size, spec.classes) == (1, 4, ("0", "1", "2"))
    train = source.load(READING).parts["train"]
    assert train.targets["label"].tolist() == [i % 3 for i in range(NUMBER)]
    ((images, indices),) = read(train)
    assert (images == pixels.reshape(-1, 1, 4, 4)).all() and indices.tolist() == list(range(NUMBER))
    line = 1 + bool(header) + 7 if end != "\n\n" else 1 + 2 * bool(header) + 14
    assert train.images.path(7) == f"{tmp_path / 'x.csv'}, line {line}"


def test_color_is_interleaved(tmp_path):
    pixels = make(values=12)
    write(tmp_path / "x.csv", pixels, ["a", "b"] * 5 + ["a"])
    ((images, _),) = read(open_rows(tmp_path / "x.csv", channels=3, shape=[2, 2]).load(Reading(3, 2)).parts["train"])
    assert (images == pixels.reshape(-1, 2, 2, 3).transpose(0, 3, 1, 2)).all()


def test_classes_are_sorted_as_numbers_only_if_all_are(tmp_path):
    def classes(*labels):
        write(tmp_path / "x.csv", make(len(labels)), labels)
        return open_rows(tmp_path / "x.csv").spec.classes

    assert classes(10, 9, 2, -1) == ("-1", "2", "9", "10")
    assert classes(10, 9, "x") == ("10", "9", "x")
    assert classes('"cat"', "cät", "cat", " cat") == ("cat", "cät")


@pytest.mark.parametrize("transforms", [None, ["RandomHorizontalFlip"], [{"RandomResizedCrop": {"size": 6}}]])
def test_batches_are_the_same_as_of_arrays_for_any_number_of_workers(path, transforms, children):
    from ppcls_lite.data.dataset import ImageArray

    augmentation = Augmentation(parse_transforms(transforms, "x", 4, 1), 0, 1, 5) if transforms else None
    batches = [np.array([5, 0, 10]), np.array([2, 3, 1, 4, 9]), np.array([7])]
    expected = [pixels for pixels, _ in ImageArray(make().reshape(-1, 1, 4, 4)).read(batches, augmentation)]
    for workers in (0, 1, 3):
        found = read(open_rows(path).load(Reading(1, 4, workers)).parts["train"], batches, augmentation)
        for one, (pixels, indices), batch in zip(expected, found, batches, strict=True):
            assert (pixels == one).all() and pixels.shape == one.shape and (indices == batch).all()
    assert not children()


def test_take_and_a_test_part(path):
    write(path.parent / "test.csv", make(3)[::-1], [1, 1, 0], "label," + "x," * 15 + "x")
    dataset = open_rows(path, test="test.csv").load(READING)
    test = dataset.parts["test"].take(np.array([2, 0]))
    ((images, _),) = read(test)
    assert (images.reshape(2, 16) == make(3)[[0, 2]]).all() and test.targets["label"].tolist() == [0, 1]
    assert len(dataset.sha256) == 64 != open_rows(path).load(READING).sha256


def test_the_fingerprint_follows_the_bytes_and_is_made_by_process_0(path, monkeypatch):
    before = open_rows(path).load(READING).sha256
    path.write_bytes(path.read_bytes().replace(b"\n", b" \n", 1))
    assert open_rows(path).load(READING).sha256 != before
    monkeypatch.setenv("PADDLE_TRAINER_ID", "1")
    assert open_rows(path).load(READING).sha256 == ""


def test_an_index_takes_sixteen_bytes_a_row(path):
    train = open_rows(path).load(READING).parts["train"].images.rows
    assert train.starts.nbytes + train.labels.nbytes == 16 * NUMBER + 8 and not train.gaps.nbytes


def test_there_are_no_files_to_check(path):
    with pytest.raises(UserError, match="csv_pixels is not a data set of image files: it has no files to check"):
        check_files(open_rows(path).load(READING))


def test_numbers_in_other_forms():
    assert parse_pixels(b'0, 12.0,"7",2.55e2'.replace(b'"', b""), 4, str).tolist() == [0, 12, 7, 255]
    assert parse_pixels(b"007,255", 2, str).tolist() == [7, 255]


ROW = b",".join(b"%d" % i for i in range(16))
BAD_ROWS = {
    "too few": (b"0," + ROW[:-3], "line 3: 15 pixel values, but the first row has 16; correct or remove the row"),
    "too many": (b"0," + ROW + b",1", "line 3: 17 pixel values, but the first row has 16"),
    "only a label": (b"0", "line 3: .* but the first row has 16"),
    "a word": (b"0," + ROW[:-2] + b"x", "line 3: pixel value 16 is 'x', expected a whole number from 0 to 255"),
    "a number with a tail": (b"0," + ROW + b"x", "line 3: pixel value 16 is '15x', expected"),
    "an empty value": (b"0," + ROW[:-2], "line 3: pixel value 16 is ''"),
    "an empty value inside": (b"0," + ROW.replace(b",3,", b",,"), "line 3: pixel value 4 is ''"),
    "a negative value": (b"0," + ROW.replace(b",3,", b",-3,"), "line 3: pixel value 4 is '-3'"),
    "a value above 255": (b"0," + ROW.replace(b",3,", b",256,"), "line 3: pixel value 4 is '256'"),
    "an endless value": (b"0," + ROW.replace(b",3,", b"," + b"9" * 400 + b","), "line 3: pixel value 4 is '999"),
    "a fraction": (b"0," + ROW.replace(b",3,", b",0.5,"), "line 3: pixel value 4 is '0.5'"),
    "not a number": (b"0," + ROW.replace(b",3,", b",nan,"), "line 3: pixel value 4 is 'nan'"),
    "bytes": (b"0," + ROW.replace(b",3,", b",\xff,"), "line 3: pixel value 4 is '"),
}


@pytest.mark.parametrize(("case", "num_workers"), [*((case, 0) for case in BAD_ROWS), ("too few", 2), ("a word", 2)])
def test_bad_rows_are_told_when_they_are_read_or_skipped(case, num_workers, path):
    row, message = BAD_ROWS[case]
    lines = path.read_bytes().split(b"\n")
    path.write_bytes(b"\n".join([*lines[:2], row, *lines[2:]]))
    train = open_rows(path).load(Reading(1, 4, num_workers)).parts["train"]
    with pytest.raises(UserError, match=message) as refused:
        read(train)
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 300
    train = open_rows(path).load(Reading(1, 4, num_workers, skip=True)).parts["train"]
    ((images, indices),) = read(train)
    assert (images.reshape(-1, 16) == make()).all() and 2 not in indices and train.images.skipped == {f"{path}, line 3"}


LABELED = b"0," + ROW + b"\n1," + ROW + b"\n"
BROKEN = {
    "no root": (None, {"root": None}, r"csv_pixels needs DataLoader\.root, a CSV file"),
    "no such file": (None, {"root": "none.csv"}, "none.csv: No such file or directory; expected lines with a label"),
    "no such test file": (None, {"test": "none.csv"}, "none.csv: No such file"),
    "a folder": (None, {"root": "."}, "Is a directory; expected lines"),
    "an empty file": (b"", {}, "train.csv has no rows"),
    "only empty lines": (b"\n \n", {}, "train.csv has no rows"),
    "only a header": (b"label,a,b,c,d\n", {}, "train.csv has no rows"),
    "semicolons": (LABELED.replace(b",", b";"), {}, "the first line has a single cell, '0;0;1;"),
    "UTF-16": (LABELED.decode().encode("utf-16-le"), {}, "train.csv is not a text file"),
    "not square": (b"0,1,2\n1,1,2\n", {}, "has 2 pixel values in a row, which make no square image of 1 channel"),
    "not square in color": (LABELED, {"channels": 3}, "has 16 pixel values .* no square image of 3 channels; check"),
    "two channels": (LABELED, {"channels": 2}, r"DataLoader\.channels is 2, expected 1 for gray or 3 for color"),
    "an oblong shape": (LABELED, {"shape": [2, 8]}, r"shape is \[2, 8\], expected equal height and width"),
    "one side": (LABELED, {"shape": [16]}, r"shape is \[16\], expected equal height and width"),
    "another shape": (LABELED, {"shape": [5, 5]}, r"\[5, 5\], which takes 25 values with 1 channel, but .* has 16"),
    "a label that is not there": (LABELED, {"label": "kind"}, r"DataLoader\.label is 'kind', .* first line of .*known"),
    "a misspelt label": (b"kind,a\nx,1\n", {"label": "kinds"}, r"'kinds', which .* did you mean 'kind'\?"),
    "no label": (LABELED + b"," + ROW + b"\n", {}, "line 3: no label; expected lines with a label"),
    "a single class": (b"7," + ROW + b"\n", {}, "train.csv has a single class, '7', but at least two"),
    "an unknown label": (
        LABELED + b"x",
        {"test": "other.csv"},
        "other.csv, line 2: .*train.csv has no row with .* '5'",
    ),
    "another size": (b"0,1\n1,1\n", {"test": "other.csv"}, "other.csv has 16 pixels in a row, but .*train.csv has 1;"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_mistakes_are_told_in_one_sentence(case, path):
    content, options, message = BROKEN[case]
    if content is not None:
        path.write_bytes(content)
    (path.parent / "other.csv").write_bytes(b"0," + ROW + b"\n5," + ROW + b"\n")
    options = {"root": path, **options}
    root = options.pop("root")
    with pytest.raises(UserError, match=message) as refused:
        open_rows(root and path.parent / root, **options).load(READING)
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 300


def test_too_many_labels(path, monkeypatch):
    monkeypatch.setattr(rows, "MAX_CLASSES", 1)
    with pytest.raises(UserError, match=r"more than 1 different labels; check DataLoader\.label"):
        open_rows(path)


def test_a_file_that_became_shorter(path):
    train = open_rows(path).load(READING).parts["train"]
    path.write_bytes(b"")
    with pytest.raises(UserError, match=r"train\.csv has become shorter since it was opened"):
        read(train)
