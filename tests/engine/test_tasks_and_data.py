"""Images on disk, and a head that is no classifier, through the whole house."""

import csv
import json
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ppcls_lite.ablation.rows import find_headline
from ppcls_lite.config import load as configs
from ppcls_lite.data import dataset as data_sets
from ppcls_lite.deploy.opening import open_predictor
from ppcls_lite.engine import evaluate as engine_evaluate
from ppcls_lite.engine.evaluate import score
from ppcls_lite.engine.train import train
from ppcls_lite.tasks.setup import complete, load_setup
from ppcls_lite.utils.errors import TrainingError, UserError
from tests.helpers import interrupt_at, rows

CLASSES = ("bright", "dark")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """train/ and test/ with bright and dark JPEGs of several sizes, and lists that name them."""
    root = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for part, number in (("train", 12), ("test", 4)):
        lines = []
        for label, name in enumerate(CLASSES):
            folder = root / part / name
            folder.mkdir(parents=True)
            for i in range(number):
                shape = (40 + 3 * i, 48, 3)
                low = 128 if name == "bright" else 0
                Image.fromarray(rng.integers(low, low + 128, shape, np.uint8)).save(folder / f"photo {i:02}.jpg")
                lines.append(f"{part}/{name}/photo {i:02}.jpg {label}\n")
        (root / f"{part}.txt").write_text("".join(lines))
    return root


def settings(root, folder, **data):
    return configs.build(
        {
            "Arch": {"name": "resnet20", "scale": 0.125},
            "Global": {"device": "cpu", "epochs": 2, "output_dir": str(folder), "use_visualdl": False},
            "DataLoader": {
                "dataset": "image_folder",
                "root": str(root),
                "image_size": 32,
                "batch_size": 8,
                "num_workers": 0,
                "flip": True,
                **data,
            },
            "Optimizer": {"name": "Momentum", "lr": {"learning_rate": 0.01}},
        },
        "photos",
    )


@pytest.fixture(scope="module")
def trained(photos, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained") / "run"
    return folder, train(settings(photos, folder))


def weights_of(folder):
    return (folder / "last.pdparams").read_bytes()


def test_a_folder_and_its_lists_make_the_same_network(photos, trained, tmp_path):
    lists = {"dataset": "list_file", "train_list": "train.txt", "test_list": "test.txt"}
    result = train(settings(photos, tmp_path / "run", **lists))
    assert weights_of(tmp_path / "run") == weights_of(trained[0]) and result["test_loss"] == trained[1]["test_loss"]
    assert trained[1]["target"]["classes"] == list(CLASSES) and result["target"]["classes"] == ["0", "1"]


@pytest.mark.parametrize("num_workers", [1, 3])
def test_workers_change_nothing_and_neither_does_an_interruption(num_workers, photos, trained, tmp_path, monkeypatch):
    config = settings(photos, tmp_path / "run", num_workers=num_workers)
    with monkeypatch.context() as patch:
        interrupt_at(patch, epoch=2, step=1)
        with pytest.raises(KeyboardInterrupt):
            train(config)
    again = settings(photos, tmp_path / "run", num_workers=num_workers)
    resumed = configs.build({**again.to_dict(), "Global": {**again.to_dict()["Global"], "resume": "auto"}}, "photos")
    train(resumed)
    assert weights_of(tmp_path / "run") == weights_of(trained[0])


def test_validation_and_test_images_are_set_aside_class_by_class(photos, tmp_path):
    flat = tmp_path / "flat"
    shutil.copytree(photos / "train", flat)
    config = settings(flat, tmp_path / "run", test_fraction=0.25, val_fraction=0.2)
    result = train(config)
    assert (result["train_images"], result["test_images"]) == (14, 6) and result["best_val_top1"] is not None
    with pytest.raises(UserError, match=r"flat has no test images; set DataLoader\.test_fraction"):
        train(settings(flat, tmp_path / "other"))
    with pytest.raises(UserError, match="has test images of its own; leave it out"):
        train(settings(photos, tmp_path / "other", test_fraction=0.2))


def test_other_labelled_images_are_scored_and_each_prediction_written(photos, trained, tmp_path):
    setup = load_setup(trained[0] / "config.yaml")
    table = tmp_path / "predictions.csv"
    own = score(setup, trained[0] / "last.pdparams")["test"]
    for data in (photos / "test", photos / "test.txt"):
        found = score(setup, trained[0] / "last.pdparams", str(data), table)["data"]
        assert found["top1"] == own["top1"] and found["images"] == 8
        with open(table) as file:
            written = list(csv.DictReader(file))
        right = [row["label"] == row["prediction"] for row in written]
        assert len(written) == 8 and np.mean(right) == own["top1"]
    for name in ("dark", "grey"):
        shutil.copytree(photos / "test" / "dark", tmp_path / "other" / name)
    with pytest.raises(UserError, match=r"grey/, which is not one of the run's classes"):
        score(setup, trained[0] / "last.pdparams", str(tmp_path / "other"))


def test_a_run_predicts_where_its_data_are_gone(photos, trained, tmp_path):
    moved = tmp_path / "moved"
    shutil.copytree(trained[0], moved)
    (moved / "config.yaml").write_text((moved / "config.yaml").read_text().replace(str(photos), "/nowhere"))
    predictor = open_predictor(moved, None, None, "cpu", 1)
    files = sorted((photos / "test").rglob("*.jpg"))
    found = list(predictor.predict_files(files, 4))
    assert len(found) == 8 and {one.values["top"][0]["name"] for one in found} <= set(CLASSES)


def test_bad_images_stop_the_run_or_are_counted(photos, tmp_path):
    copy = tmp_path / "photos"
    shutil.copytree(photos, copy)
    (copy / "train" / "dark" / "photo 03.jpg").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"photo 03\.jpg"):
        train(settings(copy, tmp_path / "run"))
    result = train(settings(copy, tmp_path / "other", on_bad_image="skip"))
    assert result["skipped_images"] == 1 and result["epochs"] == 2


def test_a_killed_loading_worker_is_one_sentence_in_training_and_scoring(photos, trained, tmp_path, monkeypatch):
    main, load = os.getpid(), data_sets.load_image

    def killed(*arguments):
        if os.getpid() != main:
            os.kill(os.getpid(), signal.SIGKILL)
        return load(*arguments)

    monkeypatch.setattr(data_sets, "load_image", killed)
    with pytest.raises(
        TrainingError, match=r"^a loading worker was killed, .*; then continue with: python tools/train"
    ):
        train(settings(photos, tmp_path / "run", num_workers=1))
    setup = load_setup(trained[0] / "config.yaml", ["DataLoader.num_workers=1"])
    with pytest.raises(TrainingError, match=r"^a loading worker was killed, .*num_workers; then start it again$"):
        score(setup, trained[0] / "last.pdparams")


def test_any_moment_of_the_main_process_may_be_the_one_in_which_a_worker_is_killed(photos, trained, monkeypatch):
    def evaluate(*_):
        raise SystemError("(Fatal) DataLoader process (pid 1. 1) exited is killed by signal: Killed.")

    monkeypatch.setattr(engine_evaluate, "evaluate", evaluate)
    with pytest.raises(TrainingError, match=r"^a loading worker was killed, .*num_workers; then start it again$"):
        score(load_setup(trained[0] / "config.yaml"), trained[0] / "last.pdparams")


@pytest.mark.parametrize(("name", "size"), [("photos", 96), ("finetune", 160)])
def test_the_configurations_for_pictures_fit_them(photos, name, size):
    root = Path(__file__).resolve().parents[2]
    setup = load_setup(root / "configs" / f"{name}.yaml", [f"DataLoader.root={photos}"])
    assert setup.input_size == size and setup.config.Arch["num_classes"] == 2


def test_gray_images_for_a_network_of_one_channel(photos, tmp_path):
    config = settings(photos, tmp_path / "run")
    gray = configs.build({**config.to_dict(), "Arch": {**config.Arch, "in_channels": 1}}, "photos")
    assert train(gray)["epochs"] == 2
    metadata = json.loads((tmp_path / "run" / "metadata.json").read_text())
    assert metadata["channels"] == 1 and len(metadata["mean"]) == 1


def test_mean_and_std_of_one_s_own_are_kept_with_the_run(photos, tmp_path):
    own = {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]}
    train(settings(photos, tmp_path / "run", **own))
    metadata = json.loads((tmp_path / "run" / "metadata.json").read_text())
    assert (metadata["mean"], metadata["std"]) == (own["mean"], own["std"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"DataLoader.mean": [0.5]}, "DataLoader.mean and DataLoader.std belong together"),
        ({"DataLoader.mean": [0.5], "DataLoader.std": [0.5]}, r"DataLoader.mean is \[0.5\], expected 3 values"),
        ({"DataLoader.test_fraction": 1}, "DataLoader.test_fraction is 1, which leaves no training images"),
        ({"DataLoader.on_bad_image": "skp"}, "DataLoader.on_bad_image is 'skp', .*did you mean 'skip'"),
        ({"DataLoader.num_workers": -1}, "DataLoader.num_workers is -1, expected a whole number at least 0"),
        ({"DataLoader.dataset": "imagefolder"}, "there is no data set '.*'; did you mean 'image_folder'"),
        ({"DataLoader.train_list": "x"}, "DataLoader.train_list is not a setting"),
        ({"DataLoader.root": "/nowhere"}, "DataLoader.root /nowhere does not exist"),
        ({"Arch.in_channels": 2}, "Arch.in_channels is 2, expected 1 for gray or 3 for color"),
        ({"Arch.num_classes": 1}, "Arch.num_classes is 1, but image_folder has 2 classes"),
        ({"DataLoader.image_size": 8}, "DataLoader.image_size is 8, expected 32 to 4096"),
        ({"DataLoader.crop_padding": 99}, "DataLoader.crop_padding is 99, expected at most 32"),
        (
            {"Heads.x": {"task": "regression", "column": "y"}},
            r"Heads.x.column is 'y', which image_folder does not have",
        ),
        ({"Heads.label": {"task": "regression"}}, r"Heads.label.column is 'label': .*needs a column of numbers"),
        ({"Heads.label": {"task": "regresion"}}, "there is no task 'regresion'; did you mean 'regression'"),
        ({"Heads.label": {}}, r"Heads.label.task is missing"),
        ({"Heads.label": {"task": "regression", "los": "l1"}}, "Heads.label.los is not an option of regression"),
        ({"Heads.label": {"task": "regression", "loss": "l3"}}, "Heads.label.loss is 'l3', expected one of"),
        ({"Heads.1": {"task": "regression"}}, "'1' is not a valid name"),
        ({"Heads": 3}, "Heads is 3, expected keys with values"),
    ],
)
def test_mistakes_are_one_sentence(photos, tmp_path, changes, message):
    raw = settings(photos, tmp_path / "run").to_dict()
    for key, value in changes.items():
        section, _, name = key.partition(".")
        if name:
            raw.setdefault(section, {})[name] = value
        else:
            raw[section] = value
    with pytest.raises(UserError, match=message) as error:
        complete(configs.build(raw, "x"))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


def test_a_regression_head_from_yaml_to_prediction(tiny, tmp_path, monkeypatch):
    settings = {"Heads.value": {"task": "regression", "loss": "huber"}, "DataLoader.val_fraction": 0.1}
    slow = {"Optimizer.lr": {"name": "Constant", "learning_rate": 1e-3}, "Global.epochs": 2}
    result = train(tiny(**settings, **slow))
    assert (result["task"], result["metric"], result["higher_is_better"]) == ("regression", "mae", False)
    assert result["score"] == result["test_mae"] and result["best_val_mae"] <= result["val_mae"]
    assert find_headline([result]).title == "MAE"
    table = rows(tmp_path / "run")
    assert {"train_mae", "val_mae", "val_r2"} <= set(table[0]) and not any("top1" in name for name in table[0])

    with monkeypatch.context() as patch:
        interrupt_at(patch, epoch=2, step=1)
        with pytest.raises(KeyboardInterrupt):
            train(tiny("broken", **settings, **slow))
    train(tiny("broken", **settings, **slow, **{"Global.resume": "auto"}))
    assert weights_of(tmp_path / "broken") == weights_of(tmp_path / "run")

    setup = load_setup(tmp_path / "run" / "config.yaml")
    last = tmp_path / "run" / "last.pdparams"
    assert score(setup, last)["test"]["mae"] == pytest.approx(result["test_mae"], rel=1e-6)
    with pytest.raises(UserError, match="--per-class needs a network that predicts classes"):
        score(setup, last, per_class=True)
    Image.new("L", (8, 8), 90).save(tmp_path / "digit.png")
    (found,) = open_predictor(last, None, None, "cpu", 1).predict_files([tmp_path / "digit.png"], 1)
    assert 0 < found.values["value"] < 9  # in the target's own unit


def test_label_smoothing_reaches_a_head_of_classes(tiny):
    head = {"Heads.label": {"task": "classification"}, "Loss.label_smoothing": 0.2}
    assert complete(tiny(**head)).task.label_smoothing == 0.2
    assert complete(tiny(**{"Loss.label_smoothing": 0.2})).task.label_smoothing == 0.2


def test_the_best_epoch_has_the_lowest_error(tiny, monkeypatch):
    errors = iter((3.0, 1.0, 2.0, 9.0))
    original = engine_evaluate.evaluate

    def evaluate(*arguments):
        scores = original(*arguments)
        scores.values["mae"] = next(errors)
        return scores

    monkeypatch.setattr(engine_evaluate, "evaluate", evaluate)
    head = {"Heads.value": {"task": "regression"}, "DataLoader.val_fraction": 0.1}
    result = train(tiny(**head, **{"Optimizer.lr": {"name": "Constant", "learning_rate": 1e-4}}))
    assert (result["best_val_mae"], result["best_epoch"]) == (1.0, 2)
