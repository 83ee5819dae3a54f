"""A CSV file whose columns are inputs and targets, with images in a folder or a tar archive."""

import io
import tarfile

import numpy as np
import pytest
from PIL import Image

from ppcls_lite.config.catalog import DATASETS
from ppcls_lite.data import Reading, open_source
from ppcls_lite.data import archive as archives
from ppcls_lite.data.check import check_files
from ppcls_lite.data.files import ImageFiles
from ppcls_lite.data.image_file import load_image
from ppcls_lite.data.montage import load_montage
from ppcls_lite.data.pipeline import Augmentation, parse_transforms
from ppcls_lite.data.sources import table as tables
from ppcls_lite.utils.errors import UserError

from .pictures import write_image

READING = Reading(3, 16)
HEADER = "id,area,zip,price,front,back\n"
ROWS = [
    (1, "10", "a", "100", "1f.png", "1b.png"),
    (2, "20.5", "b", "200", "2f.png", "2b.png"),
    (3, "-3", "a", "150", "3f.png", "3b.png"),
    (4, "4e1", "a", "90", "4f.png", "4b.png"),
    (5, "0", "07", "1", "5f.png", "5b.png"),
]
PLAIN = {"numbers": ["area"], "categories": ["zip"]}
BOTH = {**PLAIN, "images": ["front", "back"]}


def write_table(path, rows=ROWS, header=HEADER):
    path.write_text(header + "".join(",".join(map(str, row)) + "\n" for row in rows))


@pytest.fixture
def root(tmp_path):
    """houses.csv, and its ten images in images/ and images.tar."""
    write_table(tmp_path / "houses.csv")
    for seed, name in enumerate(name for row in ROWS for name in row[-2:]):
        write_image(tmp_path / "images" / name, seed, size=(30 + seed, 20))
    write_tar(tmp_path / "images.tar", tmp_path / "images")
    return tmp_path


def write_tar(path, folder, mode="w", prefix=""):
    with tarfile.open(path, mode) as tar:
        for one in sorted(folder.iterdir()):
            tar.add(one, arcname=prefix + one.name)


def open_table(folder, **options):
    options = {"root": "images", "table": "houses.csv", **options}
    for key in ("root", "table", "test_table"):
        if options.get(key):
            options[key] = str(folder / options[key])
    return open_source("table", None, options)


def read(split, batches=None, augmentation=None):
    batches = [np.arange(len(split))] if batches is None else batches
    return list(split.images.read(batches, augmentation))


def test_its_options():
    names = ("root", "table", "test_table", "images", "montage", "numbers", "categories", "min_count")
    assert tuple(DATASETS.entry("table").options) == names


def test_numbers_and_categories_are_inputs_and_every_column_is_a_target(root):
    source = open_table(root, **PLAIN)
    spec, fields = source.spec, source.spec.fields
    assert list(spec.columns) == ["id", "price", "front", "back", "area", "zip"]  # inputs come last
    assert {column.kind for column in spec.columns.values()} == {"text"} and not spec.has_images
    assert (fields.numbers, fields.categories) == (("area",), {"zip": ("07", "a", "b")})
    train = source.load(READING).parts["train"]
    assert train.images is None and train.table.dtype == np.float32 and len(train) == 5
    assert train.table.tolist() == [[10, 0, 1, 0], [20.5, 0, 0, 1], [-3, 0, 1, 0], [40, 0, 1, 0], [0, 1, 0, 0]]
    assert train.targets["price"].tolist() == ["100", "200", "150", "90", "1"]
    assert train.take(np.array([4, 0])).targets["zip"].tolist() == ["07", "a"]
    assert spec.columns["price"].where(2).endswith("houses.csv, line 4")


def test_cells_are_text_also_if_quoted_empty_or_not_a_value_elsewhere(tmp_path):
    text = '\ufeffid,note,area\r\n1,"a, ""b""\nc",1\r\n\r\n007,NA,2\r\n,nan,3\r\n'
    (tmp_path / "houses.csv").write_bytes(text.encode())
    source = open_source("table", None, {"table": str(tmp_path / "houses.csv"), "numbers": ["area"]})
    targets = source.load(READING).parts["train"].targets
    assert targets["note"].tolist() == ['a, "b"\nc', "NA", "nan"] and targets["id"].tolist() == ["1", "007", ""]
    assert [source.spec.columns["id"].where(i)[-6:] for i in range(3)] == ["line 2", "line 5", "line 6"]


def test_a_montage_pixel_by_pixel(root):
    names = [name for row in ROWS for name in row[-2:]]
    images = {name: load_image(root / "images" / name, 3, 8) for name in names}
    train = open_table(root, images=["front", "back"]).load(READING).parts["train"]
    assert train.images.shape == (3, 16, 16) and train.table is None
    ((pixels, _),) = read(train)
    for one, row in zip(pixels, ROWS, strict=True):
        assert (one[:, :8, :8] == images[row[-2]]).all() and (one[:, :8, 8:] == images[row[-1]]).all()
        assert not one[:, 8:].any()
    with Image.open(root / "images" / "1b.png") as stored:  # 31 x 20: its central square, resized
        square = stored.resize((8, 8), Image.Resampling.BILINEAR, box=(5.5, 0, 25.5, 20))
        assert np.abs(np.asarray(square).transpose(2, 0, 1).astype(int) - pixels[0][:, :8, 8:]).max() <= 1
    tall = open_table(root, images=["back", "front"], montage=[3, 1]).load(Reading(3, 24)).parts["train"]
    ((pixels, _),) = read(tall)
    assert (pixels[2][:, 8:16, :8] == images["3f.png"]).all() and not pixels[:, :, 16:].any()
    files = [root / "images" / name for name in ("3b.png", "3f.png")]
    assert (load_montage(files, (3, 1), 3, 24) == pixels[2]).all()


@pytest.mark.parametrize("place", ["images", "images.tar"])
def test_one_image_is_read_as_in_other_data_sets(root, place):
    train = open_table(root, root=place, images=["back"]).load(READING).parts["train"]
    assert type(train.images) is ImageFiles and train.images.path(1) == str(root / place / "2b.png")
    ((pixels, _),) = read(train)
    assert all(
        (one == load_image(root / "images" / row[-1], 3, 16)).all() for one, row in zip(pixels, ROWS, strict=True)
    )


@pytest.mark.parametrize("montage", [None, [1, 1]])
@pytest.mark.parametrize(
    "transforms", [None, ["RandomResizedCrop", "RandomHorizontalFlip"], [{"RandomCrop": {"padding": 2}}]]
)
def test_batches_are_the_same_from_folder_and_tar_for_any_number_of_workers(root, transforms, montage, children):
    augmentation = None
    if transforms:
        augmentation = Augmentation(parse_transforms(transforms, "x", 16, 3), 0, 1, 3)
    images = ["front", "back"] if montage is None else ["back"]
    expected, sums = None, set()
    for place in ("images", "images.tar"):
        for workers in (0, 1, 3):
            dataset = open_table(root, root=place, images=images, montage=montage).load(Reading(3, 16, workers))
            batches = [np.array([4, 0, 2]), np.array([], np.int64), np.array([3, 1])]
            found = b"".join(pixels.tobytes() for pixels, _ in read(dataset.parts["train"], batches, augmentation))
            expected = found if expected is None else expected
            sums.add(dataset.sha256)
            assert found == expected and len(found) == 5 * 3 * 16 * 16
    assert len(sums) == 1
    assert not children()


@pytest.mark.parametrize("place", ["images", "images.tar"])
@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_bad_image_skips_its_row(root, place, num_workers):
    (root / "images" / "2b.png").write_text("none")
    (root / "images" / "4f.png").unlink()
    write_tar(root / "images.tar", root / "images")
    source = open_table(root, root=place, **BOTH)
    with pytest.raises(UserError, match=r"1 file of 10 named in .*houses.csv cannot be found, first .*/4f.png"):
        source.load(READING)
    train = source.load(Reading(3, 16, num_workers, skip=True)).parts["train"]
    ((pixels, indices),) = read(train)
    assert indices.tolist() == [0, 2, 4] and len(pixels) == 3 and len(train.images.skipped) == 2


def test_a_test_table(root):
    write_table(
        root / "test.csv", [(9, "7", "unknown", "1", "1f.png", "2b.png"), (8, "8", "b", "2", "1f.png", "1b.png")]
    )
    source = open_table(root, test_table="test.csv", **BOTH)
    train, test = source.load(READING).parts.values()
    assert source.spec.fields.categories == {"zip": ("07", "a", "b")}
    assert (len(train), len(test), test.table.tolist()) == (5, 2, [[7, 0, 0, 0], [8, 0, 0, 1]])
    assert test.images.path(0).endswith("1f.png") and test.targets["price"].tolist() == ["1", "2"]
    price = source.spec.columns["price"]
    assert price.where(6).endswith("test.csv, line 3") and len(price.texts) == 7


def test_rare_categories_are_dropped_with_a_message(root, caplog):
    caplog.set_level("INFO", "ppcls_lite")
    write_table(root / "test.csv", ROWS[1:2])
    source = open_table(root, min_count=2, test_table="test.csv", **BOTH)
    train, test = source.load(READING).parts.values()
    assert "dropped 2 of 5 rows of" in caplog.text and "a value of zip that occurs less than 2 times" in caplog.text
    assert (train.targets["id"].tolist(), test.targets["id"].tolist()) == (["1", "3", "4"], ["2"])
    assert source.spec.fields.categories == {"zip": ("a",)} and test.table.tolist() == [[20.5, 0]]
    assert source.spec.columns["id"].where(2).endswith("houses.csv, line 5")
    ((pixels, _),) = read(train)
    assert (pixels[1][:, :8, :8] == load_image(root / "images" / "3f.png", 3, 8)).all()
    caplog.clear()
    open_table(root, min_count=1, **PLAIN).load(READING)
    assert not caplog.text


def test_the_fingerprint_follows_cells_and_images(root):
    def fingerprint(**options):
        return open_table(root, **{**BOTH, **options}).load(READING).sha256

    sums = [fingerprint(), fingerprint(min_count=2), fingerprint(images=[])]
    assert fingerprint() == sums[0]
    write_table(root / "houses.csv", [(*ROWS[0][:3], "101", *ROWS[0][4:]), *ROWS[1:]])
    sums.append(fingerprint())
    with open(root / "images" / "1f.png", "ab") as file:
        file.write(b"x")
    sums.append(fingerprint())
    assert len(set(sums)) == 5


def test_only_process_0_looks_at_all_files(root, monkeypatch):
    monkeypatch.setenv("PADDLE_TRAINER_ID", "1")
    monkeypatch.setattr(tables, "find_sizes", lambda *_: pytest.fail("process 1 did"))
    assert open_table(root, **BOTH).load(READING).sha256 == ""


@pytest.mark.parametrize("place", ["images", "images.tar"])
def test_all_files_of_a_montage_are_checked(root, place):
    (root / "images" / "2b.png").write_text("none")
    (root / "images" / "1b.png").write_bytes((root / "images" / "3f.png").read_bytes())
    write_tar(root / "images.tar", root / "images")
    write_table(root / "houses.csv", ROWS[:2])
    write_table(root / "test.csv", ROWS[2:])
    report = check_files(open_table(root, root=place, test_table="test.csv", **BOTH).load(READING), progress=False)
    assert report.files == {"train": 4, "test": 6}
    assert [path for path, _ in report.unreadable] == [str(root / place / "2b.png")]
    paths = [("train", str(root / place / "1b.png")), ("test", str(root / place / "3f.png"))]
    assert [list(group) for group in report.shared] == [paths]
    with pytest.raises(UserError, match="table is not a data set of image files: it"):
        check_files(open_table(root, **PLAIN).load(READING), progress=False)


def test_images_elsewhere_and_names_in_a_tar(root):
    write_tar(root / "images.tar", root / "images", prefix="./")
    ((pixels, _),) = read(open_table(root, root="images.tar", images=["front"]).load(READING).parts["train"])
    rows = [(*row[:4], root / "images" / row[4], f"../images/{row[5]}") for row in ROWS]
    write_table(root / "houses.csv", rows)
    train = open_table(root, images=["front", "back"], montage=[2, 1]).load(READING).parts["train"]
    assert len(read(train)[0][0]) == 5
    ((same, _),) = read(open_table(root, images=["front"]).load(READING).parts["train"])
    assert (same == pixels).all()


def test_a_tar_index_keeps_only_what_is_asked_for(tmp_path):
    with tarfile.open(tmp_path / "many.tar", "w") as tar:
        for i in range(3000):
            info = tarfile.TarInfo(f"folder/{i % 2000}.jpg")  # a thousand come twice: the last counts
            info.size = 4
            tar.addfile(info, io.BytesIO(b"%04d" % i))
    members = archives.find_members(
        tmp_path / "many.tar", [b"folder/5.jpg", b"folder/1999.jpg", b"no", b"./folder/5.jpg"]
    )
    assert members.sizes().tolist() == [4, 4, -1, 4] and members.starts.nbytes == 32
    assert [members.file(i).data for i in (0, 1, 3)] == [b"2005", b"1999", b"2005"]
    assert str(members.file(0)) == str(tmp_path / "many.tar" / "folder" / "5.jpg")
    with pytest.raises(UserError, match="no: the archive has no such file; restore"):
        members.file(2)
    with open(tmp_path / "many.tar", "r+b") as file:
        file.truncate(600)
    with pytest.raises(UserError, match="has become shorter since it was opened"):
        members.file(1)


def content(name, data):
    def write(root):
        (root / name).write_bytes(data if isinstance(data, bytes) else data.encode())

    return write


def row(*cells):
    return content("houses.csv", HEADER + ",".join(map(str, ROWS[0])) + "\n" + ",".join(cells) + "\n")


def compress(root):
    write_tar(root / "images.tar", root / "images", "w:gz")


def cut(root):
    data = (root / "images.tar").read_bytes()
    (root / "images.tar").write_bytes(data[:3000])


TAR = {"root": "images.tar", **BOTH}
BROKEN = {
    "no table": (None, {"table": None}, r"the data set table needs DataLoader\.table"),
    "no such table": (None, {"table": "none.csv", **PLAIN}, "none.csv: No such file or directory; expected a CSV file"),
    "a folder as table": (None, {"table": "images", **PLAIN}, "images: Is a directory; expected a CSV file"),
    "an image as table": (None, {"table": "images/1f.png", **PLAIN}, "1f.png is not a text file in UTF-8"),
    "no test table": (None, {"test_table": "none.csv", **PLAIN}, "none.csv: No such file"),
    "no inputs": (None, {}, r"has no input; name columns in DataLoader\.images"),
    "no such column": (None, {"numbers": ["aera"]}, r"DataLoader\.numbers .* 'aera', .* lacks; did you mean 'area'\?"),
    "no header": (content("houses.csv", "1,2,3\n4,5,6\n"), PLAIN, r"'area', which the first line .* known: 1, 2, 3"),
    "semicolons": (content("houses.csv", "id;area\n1;2\n"), PLAIN, "'area', which the first line .*id;area"),
    "a column twice": (None, {"numbers": ["area", "area"]}, r"'area' is in DataLoader\.numbers twice; leave it"),
    "number and category": (
        None,
        {"numbers": ["area"], "categories": ["area"]},
        r"'area' is in DataLoader\.numbers and DataLoader\.categories; leave it in one",
    ),
    "an empty file": (content("houses.csv", ""), PLAIN, "houses.csv is empty; expected a CSV file"),
    "only a header": (content("houses.csv", HEADER), PLAIN, "houses.csv has no rows after its first line"),
    "a column without a name": (content("houses.csv", "area,,zip\n1,2,3\n"), PLAIN, "column 2 has no name"),
    "columns of one name": (content("houses.csv", "area,zip,area\n1,2,3\n"), PLAIN, "names the column 'area' twice"),
    "a short row": (row("2", "20"), PLAIN, "line 3: 2 cells, but the first line names 6 columns; correct"),
    "a long row": (row(*"1234567"), PLAIN, "line 3: 7 cells, but the first line names 6 columns"),
    "an open quote": (row("2", '"20', "a"), PLAIN, "line 3: unexpected end of data"),
    "Latin-1": (content("houses.csv", (HEADER + "1,2,ä,4,5,6\n").encode("latin-1")), PLAIN, "file in UTF-8; save it"),
    "UTF-16": (content("houses.csv", HEADER.encode("utf-16")), PLAIN, "is not a text file in UTF-8"),
    "UTF-16 without a mark": (content("houses.csv", HEADER.encode("utf-16-le")), PLAIN, "is not a text file"),
    "not a number": (row("2", "big", "a", "1", "1f.png", "1b.png"), PLAIN, "line 3: area is 'big', expected a number"),
    "no number": (row("2", "", "a", "1", "1f.png", "1b.png"), PLAIN, "line 3: area is '', expected a number"),
    "an infinite number": (row("2", "inf", "a", "1", "1f.png", "1b.png"), PLAIN, "line 3: area is 'inf'"),
    "no category": (row("2", "2", " ", "1", "1f.png", "1b.png"), PLAIN, "line 3: zip is empty, expected a category"),
    "no file name": (row("2", "2", "a", "1", "", "1b.png"), BOTH, "line 3: front is empty, expected a file name"),
    "missing images": (
        row("2", "2", "a", "1", "x.png", "y.png"),
        BOTH,
        "2 files of 4 named in .* first .*x.png; check",
    ),
    "missing in a tar": (row("2", "2", "a", "1", "x.png", "1b.png"), TAR, "1 file of 4 named .*images.tar/x.png"),
    "no such root": (None, {"root": "none", **BOTH}, "none does not exist; expected a folder or a tar archive"),
    "a compressed tar": (compress, TAR, r"images.tar is compressed \(gzip\); unpack it and set DataLoader\.root"),
    "a cut tar": (cut, TAR, "images.tar is damaged or not a tar archive"),
    "no tar": (
        content("images.tar", "none"),
        TAR,
        r"images.tar is damaged or not a tar .*; expected one made by tar -cf",
    ),
    "a small montage": (None, {"montage": [1, 1], **BOTH}, r"montage is \[1, 1\], which has room for 1 of 2 images"),
    "a montage of three sides": (None, {"montage": [1, 2, 1], **BOTH}, "expected two numbers, rows and columns"),
    "a montage of nothing": (None, {"montage": [1, 2], **PLAIN}, r"DataLoader\.images names no columns; remove one"),
    "an odd size": (None, {"montage": [3, 3], **BOTH}, r"image_size is 16 px, expected a multiple of 3 .* such as 15"),
    "nothing left": (None, {"min_count": 9, **PLAIN}, r"min_count is 9, which leaves none of 5 rows; set a lower one"),
    "nothing to count": (None, {"min_count": 2, "numbers": ["area"]}, r"DataLoader\.categories names no columns"),
    "other columns": (
        content("test.csv", "area,zip\n1,a\n"),
        {"test_table": "test.csv", **PLAIN},
        "houses.csv has the column 'back', which .*test.csv lacks; both need",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_mistakes_are_told_in_one_sentence(case, root):
    change, options, message = BROKEN[case]
    if change:
        change(root)
    with pytest.raises(UserError, match=message) as refused:
        open_table(root, **options).load(READING)
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 500


def test_a_crop_for_scoring_is_refused_with_a_montage(root):
    with pytest.raises(UserError, match=r"DataLoader\.eval_transforms would crop the outer pictures of a montage"):
        open_table(root, **BOTH).load(Reading(3, 16, resize=20))
    open_table(root, images=["front"]).load(Reading(3, 16, resize=20))


def test_a_table_that_is_too_large(root, monkeypatch):
    monkeypatch.setattr(tables, "MAX_BYTES", 10)
    with pytest.raises(UserError, match=r"houses\.csv has 0 MiB, expected at most 0 MiB; split it"):
        open_table(root, **PLAIN)


def test_a_damaged_image_ends_reading_with_its_name(root):
    (root / "images" / "3b.png").write_text("none")
    write_tar(root / "images.tar", root / "images")
    train = open_table(root, root="images.tar", **BOTH).load(READING).parts["train"]
    with pytest.raises(UserError, match=r"images.tar/3b.png: it is not an image file that can be read"):
        read(train)
