"""A run from configuration to result: what it writes and what it refuses."""

import csv
import json
from pathlib import Path

import numpy as np
import paddle
import pytest
from visualdl import LogReader

from ppcls_lite.data import BatchLoader, load_dataset
from ppcls_lite.engine import callbacks
from ppcls_lite.engine.evaluate import evaluate, score
from ppcls_lite.engine.train import train
from ppcls_lite.runs.dashboard import RECORDS
from ppcls_lite.runs.run_dir import read_progress
from ppcls_lite.runs.trained import choose_weights
from ppcls_lite.tasks.network import build_network
from ppcls_lite.tasks.setup import complete, load_setup
from ppcls_lite.utils.errors import TrainingError, UserError
from ppcls_lite.weights.load import load_pretrained
from tests.helpers import SHOWN, rows, scalars


def test_the_run_folder_holds_what_is_documented(finished):
    folder, result = finished
    assert sorted(p.name for p in folder.iterdir()) == sorted(
        [
            "best.pdparams",
            "checkpoints",
            "config.yaml",
            "last.pdparams",
            "metadata.json",
            "metrics.csv",
            "result.json",
            "train.log",
            "vdl",
        ]
    )
    kept = {p.name for p in (folder / "checkpoints").iterdir()}
    newest = ["epoch_0003", "epoch_0004"]
    best = {read_progress(folder / "checkpoints" / name).best_epoch for name in newest}
    assert result["best_epoch"] in best and kept == {*newest, *(f"epoch_{epoch:04d}" for epoch in best)}
    assert len(rows(folder)) == 4 and "epoch 4/4" in (folder / "train.log").read_text()
    assert json.loads((folder / "result.json").read_text()) == result


def test_the_result_tells_what_is_needed_to_trust_it(finished):
    _, result = finished
    assert list(result) == [
        "name",
        "arch",
        "alpha",
        "seed",
        "dataset",
        "dataset_sha256",
        "dataset_official",
        "train_images",
        "test_images",
        "target",
        "skipped_images",
        "epochs",
        "task",
        "metric",
        "score",
        "unit",
        "higher_is_better",
        "test_top1",
        "test_top5",
        "test_loss",
        "val_top1",
        "best_val_top1",
        "best_epoch",
        "images_per_sec",
        "processes",
        "started",
        "wall_s",
        "test_macro_precision",
        "test_macro_recall",
        "test_macro_f1",
        "test_classes",
        "test_confusion",
        "params",
        "macs",
        "device",
        "versions",
        "config_sha256",
        "git_commit",
    ]
    assert result["dataset_official"] is True and result["epochs"] == 4 and result["device"].startswith("cpu: ")


def test_scores_by_class_belong_to_the_test_images(finished):
    _, result = finished
    counts = np.array(result["test_confusion"])
    assert counts.shape == (10, 10) and counts.sum() == result["test_images"]
    assert np.trace(counts) / counts.sum() == pytest.approx(result["test_top1"])
    assert [row["support"] for row in result["test_classes"]] == counts.sum(1).tolist()
    assert [row["class"] for row in result["test_classes"]] == result["target"]["classes"]
    recalls = [row["recall"] for row in result["test_classes"]]
    assert recalls == pytest.approx(list(np.diag(counts) / counts.sum(1)))


def test_scores_of_many_classes_are_in_a_file_of_their_own(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr("ppcls_lite.engine.train.MAX_ROWS", 9)
    result = train(tiny(**SHOWN, **{"Global.epochs": 2}))
    with open(tmp_path / "run" / "test_classes.csv") as file:
        table = list(csv.DictReader(file))
    assert "test_classes" not in result and 0 <= result["test_macro_f1"] <= 1
    assert list(table[0]) == ["class", "precision", "recall", "f1", "support"] and len(table) == 10
    assert np.mean([float(row["f1"]) for row in table]) == pytest.approx(result["test_macro_f1"])
    assert sum(int(row["support"]) for row in table) == result["test_images"]
    assert [step for step, _ in scalars(tmp_path / "run", "metrics/macro_f1_test")] == [1, 2]


def test_best_is_chosen_on_validation_images_and_its_weights_are_kept(finished):
    folder, result = finished
    found = [float(row["val_top1"]) for row in rows(folder)]
    assert result["best_val_top1"] == max(found) and result["best_epoch"] == found.index(max(found)) + 1
    assert result["val_top1"] == found[-1]
    assert [row["test_top1"] for row in rows(folder)] == [""] * 4  # test images are scored once, at the end
    setup = load_setup(folder / "config.yaml")
    weights = choose_weights(setup.config, folder / "config.yaml", [])
    assert weights.name == "best.pdparams" and score(setup, weights)["val"]["top1"] == result["best_val_top1"]


def test_scoring_the_last_weights_gives_the_result_s_figures(finished):
    folder, result = finished
    asked = [f"Global.pretrained_model={folder / 'last'}"]
    setup = load_setup(folder / "config.yaml", asked)
    weights = choose_weights(setup.config, folder / "config.yaml", asked)
    scores = score(setup, weights)
    assert scores["test"]["top1"] == result["test_top1"] and scores["test"]["images"] == 45
    assert scores["test"]["loss"] == pytest.approx(result["test_loss"], rel=1e-6)
    assert weights.name == "last.pdparams"


def test_the_dashboard_has_every_epoch_and_the_final_metrics(finished):
    folder, result = finished
    for tag in (
        "loss/train",
        "loss/val",
        "accuracy/top1_train",
        "accuracy/top1_val",
        "schedule/lr",
        "speed/images_per_sec",
    ):
        assert [step for step, _ in scalars(folder, tag)] == [1, 2, 3, 4]
    assert scalars(folder, "outcome/test_top1")[0][1] == pytest.approx(result["test_top1"])
    reader = LogReader(file_path=str(folder / "vdl" / RECORDS))
    hparams = reader.get_data("hyper_parameters", "hparam")[0]
    assert {info.name for info in hparams.hparam.hparamInfos} >= {
        "arch",
        "alpha",
        "seed",
        "learning_rate",
        "batch_size",
    }
    assert "Global.epochs=4  " in reader.get_data("text", "config")[0].text.encoded_text_string


def test_scores_do_not_depend_on_the_batch_size(finished):
    folder, _ = finished
    setup = load_setup(folder / "config.yaml")
    network = build_network(setup)
    load_pretrained(network, folder / "last.pdparams")
    test = load_dataset("digits").parts["test"]
    found = [evaluate(network, setup.task, BatchLoader(test, test.targets["label"], size)) for size in (7, 64, 360)]
    assert len({(s.values["top1"], s.values["top5"], s.images) for s in found}) == 1
    losses = [s.values["loss"] for s in found]
    np.testing.assert_allclose(losses, losses[0], rtol=1e-5)


def test_train_loss_is_the_mean_over_the_epoch(tiny, tmp_path, monkeypatch):
    batches = []
    original = callbacks.TrainEpoch.on_train_batch_end

    def on_train_batch_end(self, step, logs=None):
        batches.append(logs["loss"][0])
        original(self, step, logs)

    monkeypatch.setattr(callbacks.TrainEpoch, "on_train_batch_end", on_train_batch_end)
    train(tiny(**{"Global.epochs": 1, "Optimizer.lr.warmup_epochs": 0}))
    assert len(batches) == 4
    assert float(rows(tmp_path / "run")[0]["train_loss"]) == pytest.approx(np.mean(batches))


def test_the_same_run_gives_the_same_bytes_and_another_seed_does_not(tiny, tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        train(tiny(name, **{"Global.seed": seed, "Global.epochs": 2}))
    a, b, c = ((tmp_path / name / "last.pdparams").read_bytes() for name in "abc")
    assert a == b and a != c


@pytest.mark.filterwarnings("ignore:overflow")
def test_a_loss_that_is_no_number_stops_the_run_naming_step_and_rate(tiny, tmp_path):
    with pytest.raises(TrainingError, match=r"the loss is (nan|inf) in epoch \d+, step \d+, at learning rate 1e\+30"):
        train(tiny(**{"Optimizer.lr": {"name": "Constant", "learning_rate": 1e30}}))
    assert not (tmp_path / "run" / "result.json").exists()


def test_the_last_epoch_is_scored_and_saved_whatever_the_intervals(tiny, tmp_path):
    result = train(tiny(**{"Global.eval_interval": 2, "Global.save_interval": 2}))
    assert [bool(row["test_top1"]) for row in rows(tmp_path / "run")] == [False, True, True]
    assert float(rows(tmp_path / "run")[-1]["test_top1"]) == result["test_top1"]
    assert {p.name for p in (tmp_path / "run" / "checkpoints").iterdir()} == {"epoch_0002", "epoch_0003"}


def test_a_subset_of_the_test_images_is_scored_and_counted(tiny):
    assert train(tiny(**{"Global.epochs": 2, "DataLoader.test_subset": 50}))["test_images"] == 50


def test_training_starts_from_pretrained_weights(tiny, finished):
    folder, _ = finished
    tiny_rate = {"name": "Constant", "learning_rate": 1e-12, "warmup_epochs": 0.0}
    settings = {"Global.pretrained_model": str(folder), "Global.epochs": 1, "Optimizer.lr": tiny_rate}
    train(tiny(**settings))
    tuned = paddle.load(str(Path(tiny().Global.output_dir) / "last.pdparams"))
    best = paddle.load(str(folder / "best.pdparams"))
    np.testing.assert_allclose(tuned["fc.weight"], best["fc.weight"], atol=1e-6)


def test_a_failing_dashboard_does_not_end_the_run(tiny, monkeypatch, caplog):
    monkeypatch.setattr("ppcls_lite.runs.dashboard._open", lambda folder: 1 / 0)
    assert train(tiny(**SHOWN, **{"Global.epochs": 2}))["epochs"] == 2
    assert "VisualDL failed" in caplog.text


def test_the_input_is_resized_on_the_device_and_names_stay(tiny):
    settings = ({}, {"DataLoader.image_size": 48})
    plain, resized = (build_network(complete(tiny(**one))) for one in settings)
    assert list(plain.state_dict()) == list(resized.state_dict())
    resized.set_state_dict(plain.state_dict())
    plain.eval(), resized.eval()
    x = paddle.randn([2, 3, 32, 32])
    larger = paddle.nn.functional.interpolate(x, size=[48, 48], mode="bilinear")
    np.testing.assert_array_equal(resized(x).numpy(), plain(larger).numpy())


def test_gpu_is_refused_where_there_is_none_and_amp_is_announced(tiny, caplog):
    if paddle.is_compiled_with_cuda():
        pytest.skip("needs the CPU build")
    with pytest.raises(UserError, match="is gpu, but this is the CPU build of paddle"):
        train(tiny(**{"Global.device": "gpu"}))
    with caplog.at_level("INFO"):
        train(tiny("amp", **{"AMP": {"use_amp": True}, "Global.epochs": 2}))
    assert "AMP: left out" in caplog.text
