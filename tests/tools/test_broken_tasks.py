"""Broken tables, lists and head sections: one sentence each, and nothing is written."""

import numpy as np
import pytest

from ppcls_lite.config import load as configs
from ppcls_lite.deploy.opening import open_predictor
from ppcls_lite.engine.evaluate import load_labeled
from ppcls_lite.engine.train import train
from ppcls_lite.tasks.setup import complete
from ppcls_lite.utils.errors import UserError
from tests.data.pictures import write_image
from tests.tools.helpers import call_tool

COLUMNS = ("area", "zip", "price", "colour", "tags", "same", "front", "back")
PRICE, COLOUR, TAGS = {"task": "regression"}, {"task": "classification"}, {"task": "multi_label"}
TWO = {"Heads.price": PRICE, "Heads.colour": COLOUR}
CNN = {"Arch": {"name": "resnet20", "scale": 0.125}}
IMAGES = {**CNN, "DataLoader.images": ["front", "back"], "DataLoader.image_size": 32}
FOLD, OWN_TEST = {"DataLoader.test_fraction": 0}, {"DataLoader.test_table": "t.csv", "DataLoader.test_fraction": 0}
LISTS = {
    "DataLoader": {"dataset": "list_file", "train_list": "list.txt", "test_list": "list.txt", "multi_hot": True},
    **CNN,
    "Heads.labels": TAGS,
}


def write_table(path, cells=None, columns=COLUMNS):
    """24 rows from line 2 on; ``cells`` replaces some by (line, column)."""
    lines = [",".join(columns)]
    for i in range(24):
        tags = ["x|y", "x", ""][i % 3]
        row = [i % 7 + 1, "abc"[i % 3], 100 + i, ["red", "blue"][i % 2], tags, "1", f"{i % 4}.png", f"{3 - i % 4}.png"]
        row = dict(zip(COLUMNS, row, strict=True)) | {
            key: v for (line, key), v in (cells or {}).items() if line == i + 2
        }
        lines.append(",".join(str(row[name]) for name in columns))
    path.write_text("\n".join(lines) + "\n")


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_table(tmp_path / "t.csv")
    for k in range(4):
        write_image(tmp_path / f"{k}.png", k, size=(20, 20))
    return tmp_path


def build(settings):
    raw = {
        "Arch": {"name": "mlp"},
        "Global": {"device": "cpu", "epochs": 1, "output_dir": "run", "use_visualdl": False},
        "DataLoader": {
            "dataset": "table",
            "table": "t.csv",
            "numbers": ["area"],
            "categories": ["zip"],
            "batch_size": 8,
            "test_fraction": 0.25,
            "num_workers": 0,
        },
    }
    for key, value in settings.items():
        section, _, name = key.partition(".")
        if name:
            raw.setdefault(section, {})[name] = value
        else:
            raw[section] = value
    return configs.build(raw, "x")


def fold(value):
    return {**FOLD, "Heads.price": PRICE, "DataLoader.fold": value}


def price(**options):
    return {"Heads.price": {**PRICE, **options}}


HEADS = {
    "a reserved name": ({**TWO, "Heads.loss": {**PRICE, "column": "price"}}, "loss is a column of tables of results"),
    "a name with a space": ({"Heads.the price": PRICE}, "'the price' is not a valid name"),
    "a name of another head's column": (
        {**TWO, "Heads.colour_probability": {**COLOUR, "column": "zip"}},
        "colour_probability may be a column of results of the head colour; choose another name",
    ),
    "a head that is text": ({"Heads.price": "regression"}, "Heads.price is 'regression', expected keys with values"),
    "no task": (
        {"Heads.price": {"column": "price"}},
        r"Heads\.price\.task is missing; set it to one of classification",
    ),
    "an unknown task": ({"Heads.price": {"task": "regresion"}}, "no task 'regresion'; did you mean 'regression'"),
    "several is no task": ({"Heads.price": {"task": "several"}}, "there is no task 'several'; known: classification"),
    "a negative weight": ({**TWO, **price(weight=-1)}, r"Heads\.price\.weight is -1, expected a number at least 0"),
    "a weight that is NaN": ({**TWO, **price(weight=float("nan"))}, r"Heads\.price\.weight is nan, expected a number"),
    "the weight of one head": (price(weight=2), "weight is for several heads, and price is the only one"),
    "weights of 0": (
        {"Heads.price": {**PRICE, "weight": 0}, "Heads.colour": {**COLOUR, "weight": 0}},
        "the weight of each head is 0, so nothing would be learned; set one above 0",
    ),
    "no such column": ({"Heads.prize": PRICE}, r"Heads\.prize\.column is 'prize', .* did you mean 'price'"),
    "regression of names": ({"Heads.colour": PRICE}, r"t\.csv, line 2: the target is 'red', expected a number"),
    "one label": ({"Heads.same": TAGS}, "needs at least two labels, but the column has only '1'; check separator"),
    "one class": ({"Heads.same": COLOUR}, "all its cells are '1', expected at least two classes"),
    "too many thresholds": (
        {"Heads.tags": {**TAGS, "threshold": [0.1, 0.2, 0.3]}},
        r"Heads\.tags\.threshold has 3 values, expected one for each of the 2 labels",
    ),
    "a threshold above 1": ({"Heads.tags": {**TAGS, "threshold": 2}}, r"Heads\.tags\.threshold is 2, expected"),
    "no separator": ({"Heads.tags": {**TAGS, "separator": ""}}, r"Heads\.tags\.separator is empty"),
    "an option of another task": (price(separator="|"), r"separator is not an option of regression; known: loss, log"),
    "too few outputs": ({"Heads.zip": {**COLOUR, "num_classes": 2}}, r"num_classes is 2, but the column has 3 classes"),
    "outputs of numbers": ({**price(), "Arch.num_classes": 3}, r"num_classes is 3, but Heads\.price has 1 output; rem"),
    "outputs of heads": ({**TWO, "Arch.num_classes": 9}, "num_classes is 9, but the heads have 3 outputs; remove it"),
    "a headline of no head": (
        {**TWO, "Global.headline": "price_mea"},
        r"Global\.headline: .* did you mean 'price_mae'",
    ),
    "exact without classes": (
        {**TWO, "Global.headline": "exact"},
        "there is no metric 'exact'; known: loss, price_loss",
    ),
    "stopping without images to score": (
        {**TWO, "Global.headline": "loss", "Global.early_stop_patience": 2},
        r"early_stop_patience needs validation images; set DataLoader\.val_fraction",
    ),
    "class weights of heads": (
        {**TWO, "DataLoader.class_weights": "balanced"},
        "there are several heads; leave it out",
    ),
    "a sampler of heads": ({**TWO, "DataLoader.sampler": "balanced"}, "sampler is given, but there are several heads"),
    "weights of three classes": (
        {"Heads.colour": COLOUR, "DataLoader.class_weights": [1, 2, 3]},
        "class_weights has 3 values, but colour has 2 classes",
    ),
    "smoothing of numbers": ({**price(), "Loss.label_smoothing": 0.1}, r"smoothing is 0.1, but Heads\.price has no"),
    "an unknown section": ({**price(), "Head.price": PRICE}, "Head is not a section; did you mean 'Heads'"),
}
DATA = {
    **{
        f"fold {text}": (fold(text), f"fold is '{text}', expected the fold and")
        for text in ("0/5", "6/5", "1/1", "a/b")
    },
    "a fold and a fraction": (
        {**price(), "DataLoader.fold": "1/5"},
        "fold and DataLoader.test_fraction are both given",
    ),
    "a fold beside test rows": ({**fold("1/5"), **OWN_TEST}, "fold is 1/5, but t.csv has test images of its own"),
    "more folds than rows": (fold("1/25"), "fold is 1/25, but there are 24 images; expected fewer folds"),
    "more folds than rows of a class": (
        {**FOLD, "Heads.zip": COLOUR, "DataLoader.fold": "1/9"},
        "fold is 1/9, but a class has 8 images; expected fewer folds",
    ),
    "no test rows": ({**FOLD, **price()}, r"has no test images; set DataLoader\.test_fraction.* or DataLoader\.fold"),
    "a class with one row": (
        {"Heads.price": COLOUR},
        "a class has a single image; remove it, or name another column in Heads",
    ),
    "Mixup with a table": ({**TWO, **IMAGES, "DataLoader.transforms": ["Mixup"]}, "Mixup, which does not mix a table"),
    "transforms of rows": (
        {**price(), "DataLoader.transforms": ["RandomHorizontalFlip"]},
        "transforms is given, but table has no images; leave it out",
    ),
    "an MLP for images": ({**price(), **IMAGES, "Arch": {"name": "mlp"}}, "but table has images; choose another Arch"),
    "a network of images for rows": ({**price(), **CNN}, r"table has none; set DataLoader\.images, or Arch\.name=mlp"),
    "a width of other rows": (
        {**price(), "Arch.in_features": 9},
        "in_features is 9, but a row of table has 4; remove it",
    ),
    "layers of 0 units": ({**price(), **IMAGES, "Table.hidden": [0]}, r"Table\.hidden is \[0\], expected a list"),
    "layers without a list": ({**price(), **IMAGES, "Table.hidden": 8}, r"Table\.hidden is 8, expected a list"),
    "huge layers": ({**price(), **IMAGES, "Table.hidden": [10**12]}, "at least 1 and at most 10000"),
    "layers of an MLP": ({**price(), "Table.hidden": [9]}, r"leave it out, and set Arch\.hidden of mlp"),
    "layers without a table": (
        {**CNN, "DataLoader": {"dataset": "digits"}, "Table.hidden": [9]},
        "Table is given, but digits has no numbers or categories as input; leave it out",
    ),
    "a montage that does not fit": (
        {**price(), **IMAGES, "DataLoader.image_size": 33},
        r"image_size is 33 px, expected a multiple of 2 for a montage of 2 x 2 pictures, such as 32",
    ),
    "a cropped montage": (
        {**price(), **IMAGES, "DataLoader.eval_transforms": [{"Resize": {"size": 40}}, {"CenterCrop": {"size": 32}}]},
        "eval_transforms would crop the outer pictures of a montage",
    ),
    "columns in no list": ({**price(), "DataLoader.numbers": "area"}, "numbers is 'area', expected a list"),
    "a list of ragged labels": (LISTS, r"list\.txt, line 2: 2 labels, but the lines before have 3; correct the line"),
}


def refuse(settings, message):
    with pytest.raises(UserError, match=message) as refused:
        train(build(settings))
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 400


@pytest.mark.parametrize("case", [*HEADS, *DATA])
def test_wrong_settings_are_one_sentence(case, place):
    settings, message = {**HEADS, **DATA}[case]
    (place / "list.txt").write_text("0.png\t1,0,1\n1.png\t1,0\n")
    before = sorted(place.iterdir())
    refuse(settings, message)
    assert sorted(place.iterdir()) == before


@pytest.mark.parametrize(
    ("column", "cell", "settings", "message"),
    [
        ("colour", "", {"Heads.colour": COLOUR}, "line 5: the cell is empty, expected a class; fill in or remove"),
        ("price", "", price(), "line 5: the target is '', expected a number"),
        ("price", "1_000", price(), "line 5: the target is '1_000', expected a number"),
        ("price", '"1,5"', price(), "line 5: the target is '1,5', expected a number"),
        ("price", "nan", price(), "line 5: the target is 'nan', expected a number"),
        ("price", "1e39", price(log=True), r"line 5: the target is '1e39', expected a number from -1e\+30 to 1e\+30"),
        ("price", "0", price(log=True), "line 5: the target is 0, expected a number above 0 for log: true"),
        ("price", "-3", price(log=True), "line 5: the target is -3, expected a number above 0 for log: true"),
        ("price", "0", price(loss="mape"), "line 5: the target is 0, expected a number other than 0 for loss: mape"),
        ("price", "1e-46", price(loss="mape"), "line 5: the target is 1e-46, expected a number other than 0"),
        ("area", "", price(), "line 5: area is '', expected a number"),
        ("area", "1e39", price(), r"line 5: area is '1e39', expected a number from -1e\+30 to 1e\+30"),
        ("area", "1e400", price(), "line 5: area is '1e400', expected a number"),
        ("zip", " ", price(), "line 5: zip is empty, expected a category"),
        ("front", "", {**price(), **IMAGES}, "line 5: front is empty, expected a file name"),
        ("front", "none.png", {**price(), **IMAGES}, "1 file of 48 named in .* cannot be found"),
    ],
)
def test_wrong_cells_are_told_with_their_line(column, cell, settings, message, place):
    write_table(place / "t.csv", {(5, column): cell})
    refuse(settings, message)
    assert not (place / "run").exists()


@pytest.mark.parametrize(
    ("columns", "cells", "message"),
    [
        (COLUMNS, {(7, "colour"): "pink"}, "other.csv, line 7: there is no class 'pink'; known: blue, red"),
        (COLUMNS, {(7, "tags"): "x|z"}, "other.csv, line 7: there is no label 'z'; known: x, y"),
        (COLUMNS, {(7, "price"): ""}, "other.csv, line 7: the target is '', expected a number"),
        (COLUMNS[1:], {}, "other.csv lacks the column 'area', which the network takes"),
        (
            [name for name in COLUMNS if name != "colour"],
            {},
            "other.csv lacks the column 'colour', which the network l",
        ),
    ],
)
def test_rows_to_score_that_do_not_fit_are_one_sentence(columns, cells, message, place):
    setup = complete(build({**TWO, "Heads.tags": TAGS}))
    write_table(place / "other.csv", cells, columns)
    with pytest.raises(UserError, match=message):
        load_labeled(setup, "other.csv")


def test_a_target_may_be_an_input_and_a_bad_image_leaves_out_its_row(place):
    (place / "0.png").write_bytes(b"none")
    result = train(build({"Heads.area": PRICE, **IMAGES, "DataLoader.on_bad_image": "skip"}))
    assert result["skipped_images"] > 0 and np.isfinite(result["score"])


def test_what_cannot_be_predicted_is_one_sentence(place):
    train(build(TWO))
    predictor = open_predictor(place / "run", None, None, "cpu", 1)
    with pytest.raises(UserError, match=r"takes rows of a table, not single images; give a CSV .* columns area, zip"):
        list(predictor.predict_files([place / "0.png"], 1))
    write_table(place / "other.csv", columns=COLUMNS[1:])
    with pytest.raises(UserError, match="lacks the column 'area', which the network takes"):
        list(predictor.predict_rows(place / "other.csv", None, 4))
    for arguments, message in (
        (["t.csv", "other.csv"], "t.csv is given with other.csv; give one CSV file, or images and folders"),
        (["0.png", "--root", "."], "--root is for the images that a CSV file names; leave it out"),
        (["none.csv"], "none.csv: No such file or directory; expected a CSV file"),
    ):
        done = call_tool("tools/predict.py", "run", *arguments, cwd=place)
        assert done.returncode == 2 and done.stderr.count("\n") <= 3, done.stderr
        assert message in done.stderr and "Traceback" not in done.stderr
