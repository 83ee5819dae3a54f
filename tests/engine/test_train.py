"""A run from configuration to result: what it writes, what it refuses, and that an interruption changes nothing."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import paddle
import pytest
from visualdl import LogReader

from ppcls_lite import config as configs
from ppcls_lite.data import load_dataset
from ppcls_lite.engine import callbacks, parts
from ppcls_lite.engine.dashboard import RECORDS, rewind
from ppcls_lite.engine.evaluate import evaluate
from ppcls_lite.engine.score import score
from ppcls_lite.engine.train import train
from ppcls_lite.errors import TrainingError, UserError
from ppcls_lite.weights import load_pretrained


def rows(folder):
    with open(folder / "metrics.csv") as file:
        return list(csv.DictReader(file))


def without_timing(row):
    return {key: value for key, value in row.items() if key not in ("images_per_sec", "seconds")}


def scalars(folder, tag):
    reader = LogReader(file_path=str(folder / "vdl" / RECORDS))
    return [(point.id, point.value) for point in reader.get_data("scalar", tag)]


def interrupt_at(monkeypatch, epoch, step, error=KeyboardInterrupt):
    """Stop training in a step as Ctrl-C does."""
    original = callbacks.TrainMeter.on_train_batch_end

    def on_train_batch_end(self, number, logs=None):
        if self.progress.row["epoch"] == epoch and number == step:
            raise error
        original(self, number, logs)

    monkeypatch.setattr(callbacks.TrainMeter, "on_train_batch_end", on_train_batch_end)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run with a validation part: (its folder, its result)."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    raw = {
        "Arch": {"name": "oct_mobilenet", "scale": 0.125, "stem": "cifar"},
        "Global": {"device": "cpu", "epochs": 4, "output_dir": str(folder), "name": "finished"},
        "DataLoader": {"train_subset": 64, "batch_size": 16, "val_fraction": 0.1},
        "Optimizer": {"name": "Momentum", "lr": {"learning_rate": 0.05}},
    }
    return folder, train(configs.build(raw, "x"))


def test_the_run_folder_holds_what_is_documented(finished):
    folder, result = finished
    assert sorted(p.name for p in folder.iterdir()) == sorted(
        [
            "best.pdparams",
            "checkpoints",
            "config.yaml",
            "last.pdparams",
            "metrics.csv",
            "result.json",
            "train.log",
            "vdl",
        ]
    )
    kept = {p.name for p in (folder / "checkpoints").iterdir()}
    assert kept == {"epoch_0003", "epoch_0004", f"epoch_{result['best_epoch']:04d}"}
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
        "epochs",
        "test_images",
        "test_top1",
        "test_loss",
        "val_top1",
        "best_val_top1",
        "best_epoch",
        "params",
        "macs",
        "images_per_sec",
        "wall_s",
        "device",
        "versions",
        "config_sha256",
        "git_commit",
    ]
    assert result["dataset_official"] is True and result["epochs"] == 4 and result["device"].startswith("cpu: ")


def test_best_is_chosen_on_validation_images_and_its_weights_are_kept(finished):
    folder, result = finished
    found = [float(row["val_top1"]) for row in rows(folder)]
    assert result["best_val_top1"] == max(found) and result["best_epoch"] == found.index(max(found)) + 1
    assert result["val_top1"] == found[-1]
    assert [row["test_top1"] for row in rows(folder)] == [""] * 4  # test images are scored once, at the end
    config = configs.load(folder / "config.yaml")
    assert score(config)["val"]["top1"] == result["best_val_top1"]  # a run folder means its best weights


def test_scoring_the_last_weights_gives_the_result_s_figures(finished):
    folder, result = finished
    config = configs.load(folder / "config.yaml", [f"Global.pretrained_model={folder / 'last'}"])
    scores = score(config)
    assert scores["test"]["top1"] == result["test_top1"] and scores["test"]["images"] == 360
    assert scores["test"]["loss"] == pytest.approx(result["test_loss"], rel=1e-6)
    assert scores["weights"].endswith("last.pdparams")


def test_the_dashboard_has_every_epoch_and_the_final_metrics(finished):
    folder, result = finished
    for tag in ("loss/train", "loss/val", "top1/train", "top1/val", "schedule/lr", "speed/images_per_sec"):
        assert [step for step, _ in scalars(folder, tag)] == [1, 2, 3, 4]
    assert scalars(folder, "final/test_top1")[0][1] == pytest.approx(result["test_top1"])
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
    config = configs.load(folder / "config.yaml")
    network = parts.build_network(config)
    load_pretrained(network, folder / "last.pdparams")
    test = load_dataset("digits").test
    found = [evaluate(network, parts.ArrayLoader(test, size)) for size in (7, 64, 360)]
    assert len({(s.top1, s.top5, s.images) for s in found}) == 1
    np.testing.assert_allclose([s.loss for s in found], found[0].loss, rtol=1e-5)


def test_train_loss_is_the_mean_over_the_epoch(tiny, tmp_path, monkeypatch):
    batches = []
    original = callbacks.TrainMeter.on_train_batch_end

    def on_train_batch_end(self, step, logs=None):
        batches.append(logs["loss"][0])
        original(self, step, logs)

    monkeypatch.setattr(callbacks.TrainMeter, "on_train_batch_end", on_train_batch_end)
    train(tiny(**{"Global.epochs": 1, "Optimizer.lr.warmup_epochs": 0}))
    assert len(batches) == 4
    assert float(rows(tmp_path / "run")[0]["train_loss"]) == pytest.approx(np.mean(batches))


def test_the_same_run_gives_the_same_bytes_and_another_seed_does_not(tiny, tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        train(tiny(name, **{"Global.seed": seed, "Global.epochs": 2}))
    a, b, c = ((tmp_path / name / "last.pdparams").read_bytes() for name in "abc")
    assert a == b and a != c


@pytest.mark.parametrize("optimizer", ["Momentum", "Adam", "AdamW"])
def test_an_interrupted_and_resumed_run_equals_the_uninterrupted_one(tiny, tmp_path, monkeypatch, optimizer):
    settings = {"Optimizer.name": optimizer, "DataLoader.val_fraction": 0.1}
    whole = train(tiny("whole", **settings))
    with monkeypatch.context() as patch:
        interrupt_at(patch, epoch=3, step=2)
        with pytest.raises(KeyboardInterrupt):
            train(tiny("broken", **settings))
    assert not (tmp_path / "broken" / "result.json").exists()
    resumed = train(tiny("broken", **settings, **{"Global.resume": "auto"}))

    timing = ("images_per_sec", "wall_s")
    assert {k: v for k, v in resumed.items() if k not in timing} == {k: v for k, v in whole.items() if k not in timing}
    for name in ("last.pdparams", "best.pdparams", "checkpoints/epoch_0003/model.pdopt"):
        assert (tmp_path / "broken" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    whole_rows, resumed_rows = (map(without_timing, rows(tmp_path / name)) for name in ("whole", "broken"))
    assert list(resumed_rows) == list(whole_rows)
    assert scalars(tmp_path / "broken", "loss/train") == scalars(tmp_path / "whole", "loss/train")


def test_a_checkpoint_of_another_folder_resumes_elsewhere(tiny, tmp_path, monkeypatch):
    whole = train(tiny("whole"))
    checkpoint = tmp_path / "whole" / "checkpoints" / "epoch_0002"
    resumed = train(tiny("elsewhere", **{"Global.checkpoints": str(checkpoint)}))
    assert resumed["test_top1"] == whole["test_top1"]
    assert (tmp_path / "elsewhere" / "last.pdparams").read_bytes() == (
        tmp_path / "whole" / "last.pdparams"
    ).read_bytes()


def test_resuming_a_finished_run_repeats_nothing(tiny, tmp_path, monkeypatch):
    result = train(tiny(**{"Global.epochs": 2}))
    before = (tmp_path / "run" / "result.json").stat().st_mtime_ns
    monkeypatch.setattr(paddle.Model, "fit", lambda *a, **k: pytest.fail("trained again"))
    assert train(tiny(**{"Global.epochs": 2, "Global.resume": "auto"})) == result
    assert (tmp_path / "run" / "result.json").stat().st_mtime_ns == before


def test_what_a_kill_leaves_half_written_is_no_hindrance(tiny, tmp_path):
    """A kill before the first file, and one in the middle of a checkpoint that the next session writes again."""
    (tmp_path / "run" / "checkpoints" / ".epoch_0001.tmp").mkdir(parents=True)
    (tmp_path / "run" / ".config.yaml.tmp").write_text("Arch")
    (tmp_path / "run" / "config.yaml").write_text(tiny(**{"Global.epochs": 2}).to_yaml())
    assert train(tiny(**{"Global.epochs": 2, "Global.resume": "auto"}))["epochs"] == 2
    assert not list((tmp_path / "run").rglob("*.tmp"))


def test_a_kill_between_checkpoint_and_result_is_made_good(tiny, tmp_path):
    result = train(tiny(**{"Global.epochs": 2}))
    (tmp_path / "run" / "result.json").unlink()
    (tmp_path / "run" / "metrics.csv").unlink()
    (tmp_path / "run" / "last.pdparams").unlink()
    assert train(tiny(**{"Global.epochs": 2, "Global.resume": "auto"})) == result
    assert (tmp_path / "run" / "last.pdparams").exists() and len(rows(tmp_path / "run")) == 2


def test_resume_auto_starts_where_nothing_is(tiny):
    assert train(tiny(**{"Global.epochs": 2, "Global.resume": "auto"}))["epochs"] == 2


def test_a_folder_with_something_in_it_is_refused_and_left_alone(tiny, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("mine")
    for settings in ({}, {"Global.resume": "auto"}):
        with pytest.raises(UserError, match="is not empty"):
            train(tiny(**settings))
    assert [p.name for p in (tmp_path / "run").iterdir()] == ["thesis.txt"]


def test_resuming_with_other_settings_names_them(tiny):
    train(tiny(**{"Global.epochs": 2}))
    with pytest.raises(UserError, match=r"other settings \(Optimizer.lr.learning_rate was 0.05, is 0.1\)"):
        train(tiny(**{"Global.epochs": 2, "Optimizer.lr.learning_rate": 0.1, "Global.resume": "auto"}))


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
    monkeypatch.setattr("ppcls_lite.engine.dashboard._open", lambda folder: 1 / 0)
    assert train(tiny(**{"Global.epochs": 2}))["epochs"] == 2
    assert "VisualDL failed" in caplog.text


def test_rewinding_records_cuts_later_epochs_and_half_a_record(finished, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(finished[0] / "vdl", folder / "vdl")
    records = folder / "vdl" / RECORDS
    records.write_bytes(records.read_bytes() + records.read_bytes()[:30])
    rewind(records, 3)
    assert [step for step, _ in scalars(folder, "loss/train")] == [1, 2, 3]


def test_a_resumed_run_s_curves_have_each_epoch_once(tiny, tmp_path, monkeypatch):
    settings = {"Global.save_interval": 2, "Global.epochs": 4}
    with monkeypatch.context() as patch:
        interrupt_at(patch, epoch=4, step=1)  # epoch 3 is on the dashboard and in no checkpoint
        with pytest.raises(KeyboardInterrupt):
            train(tiny(**settings))
    train(tiny(**settings, **{"Global.resume": "auto"}))
    assert [step for step, _ in scalars(tmp_path / "run", "loss/train")] == [1, 2, 3, 4]


def test_a_run_resumed_elsewhere_has_the_best_weights_and_all_curves(tiny, tmp_path, monkeypatch):
    settings = {"DataLoader.val_fraction": 0.1}
    whole = train(tiny("whole", **settings))
    checkpoint = tmp_path / "whole" / "checkpoints" / "epoch_0002"
    with monkeypatch.context() as patch:
        interrupt_at(patch, epoch=3, step=1)
        with pytest.raises(KeyboardInterrupt):
            train(tiny("elsewhere", **settings, **{"Global.checkpoints": str(checkpoint)}))
    resumed = train(tiny("elsewhere", **settings, **{"Global.resume": "auto"}))
    assert resumed["best_val_top1"] == whole["best_val_top1"] and resumed["test_loss"] == whole["test_loss"]
    for name in ("best.pdparams", "last.pdparams"):
        assert (tmp_path / "elsewhere" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert [step for step, _ in scalars(tmp_path / "elsewhere", "loss/train")] == [1, 2, 3]


def test_checkpoints_in_the_run_s_own_folder_are_refused(tiny, tmp_path):
    train(tiny(**{"Global.epochs": 2}))
    with pytest.raises(UserError, match="is not empty"):
        train(tiny(**{"Global.checkpoints": str(tmp_path / "run")}))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda c: (c / "model.pdopt").unlink(), "model.pdopt cannot be read"),
        (lambda c: (c / "model.pdopt").write_bytes(b"junk"), "model.pdopt is damaged"),
        (lambda c: (c / "model.pdparams").write_bytes(b"junk"), "model.pdparams is damaged"),
        (lambda c: (c / "state.json").write_text("{}"), "state.json is damaged"),
        (lambda c: (c / "state.json").write_text('{"epoch": "2"}'), "state.json is damaged"),
    ],
)
def test_damaged_checkpoints_are_named_and_left_alone(tiny, tmp_path, spoil, message):
    train(tiny("source", **{"Global.epochs": 2}))
    checkpoint = tmp_path / "source" / "checkpoints" / "epoch_0002"
    spoil(checkpoint)
    with pytest.raises(UserError, match=message):
        train(tiny("next", **{"Global.checkpoints": str(checkpoint)}))
    assert not (tmp_path / "next").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"Optimizer.name": "Adam"}, "model.pdopt does not fit Optimizer.name Adam"),
        ({"Optimizer.lr": {"name": "Constant"}}, "model.pdopt does not fit Optimizer.name Momentum and its schedule"),
        ({"Global.epochs": 2, "Optimizer.lr.warmup_epochs": 0}, "is past Global.epochs 2"),
        ({"Arch.scale": 0.25}, "of another shape"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused(tiny, tmp_path, settings, message):
    train(tiny("source"))
    with pytest.raises(UserError, match=message):
        train(tiny("next", **{"Global.checkpoints": str(tmp_path / "source"), **settings}))


def test_the_input_is_resized_on_the_device_and_names_stay(tiny):
    plain, resized = (parts.build_network(tiny(**settings)) for settings in ({}, {"DataLoader.image_size": 48}))
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
