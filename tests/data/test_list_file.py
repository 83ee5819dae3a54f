"""Images named in PaddleClas's lists."""

import os

import numpy as np
import pytest

from ppcls_lite.config.catalog import DATASETS
from ppcls_lite.config.load import load
from ppcls_lite.data.dataset import Column, Reading
from ppcls_lite.data.sources import list_file as lists
from ppcls_lite.data.sources.image_folder import image_folder
from ppcls_lite.data.sources.list_file import list_file, read_class_map, read_list
from ppcls_lite.utils.errors import UserError

from .pictures import write_folder, write_image

READING = Reading(3, 8)
SHA256 = "2c60cf5b3e7dbf1586da1379f6bfdd52b8cfe3be215bd9532d787a5eb695e01c"  # before multi_hot was added


@pytest.fixture
def root(tmp_path):
    """Six training and six test images, with their lists and class map."""
    write_folder(tmp_path)
    write_lists(tmp_path)
    return tmp_path


def write_lists(root, delimiter=" ", ending="\n"):
    for part in ("train", "test"):
        names = [
            f"{part}/{name}/{k}.png{delimiter}{label}" for label, name in enumerate(("cat", "dog")) for k in range(3)
        ]
        (root / f"{part}.txt").write_bytes("".join(name + ending for name in names).encode())
    (root / "classes.txt").write_text("0 cat\n1 dog\n")


def open_lists(folder, **options):
    return list_file(**{"root": str(folder), "train_list": "train.txt", "test_list": "test.txt", **options})


def test_its_options():
    options = ("root", "train_list", "val_list", "test_list", "class_map", "delimiter", "multi_hot")
    assert tuple(DATASETS.entry("list_file").options) == options


def test_the_same_files_in_folders_and_lists_are_the_same_data(root):
    source = open_lists(root, class_map="classes.txt")
    assert source.fetch() is None
    by_list, by_folder = source.load(READING), image_folder(root=str(root)).load(READING)
    assert by_list.sha256 == by_folder.sha256
    assert by_list.spec.classes == by_folder.spec.classes == ("cat", "dog")
    assert list(by_list.parts) == list(by_folder.parts) == ["train", "test"]
    for part in by_list.parts:
        (one, _), (other, _) = (
            next(iter(data.parts[part].images.read([np.arange(6)]))) for data in (by_list, by_folder)
        )
        assert (one == other).all()
        assert (by_list.parts[part].targets["label"] == by_folder.parts[part].targets["label"]).all()


def test_only_the_parts_that_are_named(root):
    assert list(open_lists(root, test_list=None).load(READING).parts) == ["train"]
    assert list(open_lists(root, val_list="test.txt").load(READING).parts) == ["train", "val", "test"]


@pytest.mark.parametrize("delimiter", [" ", "\t", ",", ";", " | ", "\\t"])
@pytest.mark.parametrize("ending", ["\n", "\r\n", " \n\n"])
def test_delimiters_and_line_ends(root, delimiter, ending):
    before = open_lists(root).load(READING).sha256
    write_lists(root, "\t" if delimiter == "\\t" else delimiter, ending)
    assert open_lists(root, delimiter=delimiter).load(READING).sha256 == before


def test_without_a_class_map_classes_are_numbers(root):
    assert open_lists(root).spec.classes == ("0", "1")


def test_paths_with_spaces_odd_bytes_and_absolute_paths(tmp_path):
    names = [b"a b/c  d 7.png", b"x\xff.png", os.fsencode(tmp_path / "far" / "y.png"), b"./b/../a b/z.png"]
    for i, name in enumerate(names):
        (tmp_path / "b").mkdir(exist_ok=True)
        write_image(tmp_path / os.fsdecode(name), seed=i)
    (tmp_path / "list").write_bytes(
        b"\xef\xbb\xbf" + b"".join(name + b" %d\n" % (i % 2) for i, name in enumerate(names))
    )
    train = list_file(train_list=str(tmp_path / "list")).load(READING).parts["train"]  # root: where the list is
    assert [train.images.names.name(i) for i in range(4)] == names
    assert train.targets["label"].tolist() == [0, 1, 0, 1]
    assert [indices.tolist() for _, indices in train.images.read([np.arange(4)])] == [[0, 1, 2, 3]]


def test_lists_are_looked_for_in_the_working_directory_first(root, tmp_path_factory, monkeypatch):
    work = tmp_path_factory.mktemp("work")
    (work / "train.txt").write_text("train/cat/0.png 0\ntrain/dog/0.png 1\n")
    monkeypatch.chdir(work)
    dataset = open_lists(root).load(READING)
    assert (len(dataset.parts["train"]), len(dataset.parts["test"])) == (2, 6)


def test_a_line_that_comes_twice_counts_twice(root):
    with open(root / "train.txt", "a") as file:
        file.write("train/cat/0.png 0\n")
    train = open_lists(root).load(READING).parts["train"]
    assert len(train) == 7 and train.images.path(6) == train.images.path(0)


def test_class_maps_in_utf8_or_gbk_in_any_order(tmp_path):
    path = tmp_path / "map.txt"
    for encoding in ("utf-8", "utf-8-sig", "gbk"):
        path.write_text("1 金鱼, goldfish\n0\ttench, Tinca tinca\n\n2 crane\n3 crane\n", encoding=encoding)
        assert read_class_map(path) == ("tench, Tinca tinca", "金鱼, goldfish", "crane", "crane")


def test_a_long_list_is_read_in_little_memory(tmp_path):
    with open(tmp_path / "list", "w") as file:
        file.writelines(f"train/n{i % 1000:08}/n{i % 1000:08}_{i}.JPEG {i % 1000}\n" for i in range(20_000))
    listed = read_list(tmp_path / "list", "/data", " ")
    assert len(listed.names) == 20_000 and listed.labels[1234] == 234
    assert sum(array.nbytes for array in (listed.names.ends, listed.labels, listed.lines)) == 24 * 20_000


def write_multi_hot(root, delimiter="\t"):
    """train.txt and test.txt as PaddleClas's multi-label lists."""
    for part in ("train", "test"):
        lines = [f"{part}/cat/{k}.png{delimiter}{k % 2},1,{k // 2}\n" for k in range(3)]
        (root / f"{part}.txt").write_text("".join(lines))


def test_multi_hot_lists(root):
    write_multi_hot(root)
    source = open_lists(root, multi_hot=True)
    assert source.spec.columns == {"labels": Column("labels", ("0", "1", "2"))}
    train = source.load(READING).parts["train"]
    assert train.targets["labels"].dtype == np.uint8
    assert train.targets["labels"].tolist() == [[0, 1, 0], [1, 1, 0], [0, 1, 1]]
    assert train.images.path(2).endswith("train/cat/2.png") and len(source.load(READING).sha256) == 64
    (root / "classes.txt").write_text("0 cat\n1 dog\n2 cow\n")
    assert open_lists(root, multi_hot=True, class_map="classes.txt").spec.classes == ("cat", "dog", "cow")
    before = source.load(READING).sha256
    write_multi_hot(root, ";")
    assert open_lists(root, multi_hot=True, delimiter=";").load(READING).sha256 == before
    (root / "train.txt").write_text("train/cat/0.png;1,1,0\ntrain/cat/1.png;1,0,1\n")
    assert open_lists(root, multi_hot=True, delimiter=";").load(READING).sha256 != before


def test_configurations_without_multi_hot_keep_their_fingerprint(tmp_path):
    (tmp_path / "x.yaml").write_text("DataLoader: {dataset: list_file, train_list: x.txt}\nArch: {name: resnet20}\n")
    plain, given = (load(tmp_path / "x.yaml", extra) for extra in ([], ["DataLoader.multi_hot=false"]))
    assert plain.sha256() == given.sha256() == SHA256
    assert load(tmp_path / "x.yaml", ["DataLoader.multi_hot=true"]).sha256() != SHA256


def text(name, content):
    def write(root):
        (root / name).write_bytes(content if isinstance(content, bytes) else content.encode())

    return write


def longer(name, line):
    def write(root):
        with open(root / name, "a") as file:
            file.write(line)

    return write


def multi_hot(*lines):
    return text("train.txt", "".join(line + "\n" for line in ("train/cat/0.png\t0,1,1", *lines)))


MAP = {"class_map": "classes.txt"}
HOT = {"multi_hot": True}
BROKEN = {
    "no train_list": (None, {"train_list": None}, r"list_file needs DataLoader\.train_list"),
    "no such list": (None, {"train_list": "none.txt"}, "none.txt: No such file or directory; expected a text file"),
    "no such test list": (None, {"test_list": "none.txt"}, "none.txt: No such file"),
    "a folder as list": (None, {"train_list": "train"}, "train: Is a directory; expected a text file"),
    "an empty list": (text("train.txt", "\n \n"), {}, "train.txt is empty; expected lines such as"),
    "a picture as list": (None, {"train_list": "train/cat/0.png"}, "0.png is not a text file"),
    "a list in UTF-16": (text("train.txt", "a.png 0\n".encode("utf-16")), {}, "train.txt is not a text file in UTF-8"),
    "an endless line": (text("train.txt", "a" * 100_000), {}, "train.txt is not a text file"),
    "no label": (text("train.txt", "train/cat/0.png\n"), {}, "line 1: expected a path and a label separated by ' '"),
    "no path": (text("train.txt", " 0\n"), {}, "found ' 0'"),
    "another delimiter": (None, {"delimiter": ","}, "line 1: .* separated by ',', found"),
    "no delimiter": (None, {"delimiter": ""}, r"DataLoader\.delimiter is ''"),
    "a digit as delimiter": (None, {"delimiter": "1"}, r"DataLoader\.delimiter is '1'"),
    "a header": (
        text("train.txt", "path label\n"),
        {},
        "line 1: label 'label' is not a whole number; .* without a header",
    ),
    "a negative label": (longer("train.txt", "train/cat/0.png -1\n"), {}, "line 7: label '-1' is not a whole number"),
    "a label with a point": (longer("train.txt", "train/cat/0.png 1.0\n"), {}, "line 7: label '1.0' is not a whole"),
    "several labels": (longer("train.txt", "train/cat/0.png 0,1,0\n"), {}, "line 7: label '0,1,0' is not a whole"),
    "foreign digits": (longer("train.txt", "train/cat/0.png ²\n"), {}, "line 7: label '²' is not a whole number"),
    "a label of many digits": (
        longer("train.txt", f"a.png {'9' * 5000}\n"),
        {},
        "line 7: .* is too high for a class",
    ),
    "a label of 100,000": (
        longer("train.txt", "a.png 100000\n"),
        {},
        "line 7: '100000' is too high for a class",
    ),
    "a label above the map's": (longer("train.txt", "test/cat/0.png 2\n"), MAP, "line 7: label 2 is not a class of"),
    "a class of the test list alone": (longer("test.txt", "train/cat/0.png 2\n"), {}, "line 7: label 2 is not a class"),
    "two labels for a file": (longer("train.txt", "train/cat/0.png 1\n"), {}, "has label 0 in line 1 and 1 in line 7"),
    "a single class": (text("train.txt", "train/cat/0.png 0\n"), {}, "train.txt has a single class"),
    "a file that is missing": (longer("train.txt", "gone.png 1\n"), {}, "1 file of 7 .* cannot be found.*gone.png"),
    "no such root": (None, {"root": "/nowhere", "train_list": "{root}/train.txt"}, "/nowhere is not a folder"),
    "no such map": (None, {"class_map": "none.txt"}, "none.txt: No such file"),
    "an empty map": (text("classes.txt", ""), MAP, "classes.txt is empty"),
    "a map with a gap": (text("classes.txt", "0 cat\n2 dog\n"), MAP, "number 1 is missing; number them from 0"),
    "a map that starts at 1": (text("classes.txt", "1 cat\n2 dog\n"), MAP, "number 0 is missing"),
    "a class that comes twice": (text("classes.txt", "0 cat\n0 dog\n"), MAP, "line 2: class 0 is already defined"),
    "a map without numbers": (text("classes.txt", "cat\ndog\n"), MAP, "line 1: expected a line such as .* found 'cat'"),
    "a map without names": (text("classes.txt", "0\n1\n"), MAP, "line 1: expected .* found '0'"),
    "a map in no known encoding": (text("classes.txt", b"0 \xff\xff\n"), MAP, "is not a text file in UTF-8 or GBK"),
    "a picture as map": (None, {"class_map": "train/cat/0.png"}, "0.png is not a text file"),
    "a class number in place of labels": (None, HOT, r"line 1: expected a path, '\\t' and 0 or 1 for each label"),
    "a label of 2": (multi_hot("train/cat/1.png\t0,2,1"), HOT, "line 2: expected a path.* such as 0,1,0, found"),
    "an empty label": (multi_hot("train/cat/1.png\t0,,1"), HOT, "line 2: expected a path"),
    "labels without a path": (multi_hot("\t0,1,1"), HOT, "line 2: expected a path"),
    "one label more": (multi_hot("train/cat/1.png\t0,1,1,0"), HOT, "line 2: 4 labels, but the lines before have 3"),
    "a single label": (text("train.txt", "train/cat/0.png\t1\n"), HOT, "train.txt has a single class"),
    "an empty multi-hot list": (
        text("train.txt", ""),
        HOT,
        r"is empty; expected lines such as 'images/cat.jpg\\t0,1,0'",
    ),
    "labels unlike the map's": (
        multi_hot(),
        {**HOT, **MAP, "test_list": None},
        "train.txt has 3 labels in a line, but .*classes.txt has 2",
    ),
    "labels unlike the test list's": (
        multi_hot(),
        {**HOT, "test_list": "other.txt"},
        "other.txt has 2 labels in a line, but .*train.txt has 3",
    ),
    "other labels for a file": (multi_hot("train/cat/0.png\t1,1,1"), HOT, "has different labels in lines 1 and 2"),
    "a comma as delimiter": (None, {**HOT, "delimiter": ","}, "delimiter has a comma, which separates labels"),
    "a map of a single class": (text("classes.txt", "0 cat\n"), MAP, "classes.txt has a single class"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_mistakes_are_told_in_one_sentence(case, root):
    change, options, message = BROKEN[case]
    if change:
        change(root)
    (root / "other.txt").write_text("train/cat/0.png\t0,1\n")
    options = {
        key: value.replace("{root}", str(root)) if isinstance(value, str) else value for key, value in options.items()
    }
    with pytest.raises(UserError, match=message) as refused:
        open_lists(root, **options).load(READING)
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 500


def test_a_map_of_any_size_is_not_read_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(lists, "MAX_MAP_BYTES", 10)
    (tmp_path / "map.txt").write_text("0 cat\n1 dog\n")
    with pytest.raises(UserError, match="not a text file"):
        read_class_map(tmp_path / "map.txt")
