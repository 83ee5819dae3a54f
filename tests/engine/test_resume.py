"""Resuming: an interruption changes nothing, and nothing is taken that does not fit or overwritten."""

import shutil

import paddle
import pytest

from ppcls_lite.engine.dashboard import RECORDS, rewind
from ppcls_lite.engine.lock import FolderLock
from ppcls_lite.engine.train import train
from ppcls_lite.errors import UserError
from tests.engine.helpers import interrupt_at, rows, scalars, without_timing


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


def test_a_folder_that_another_process_writes_to_is_refused(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr("ppcls_lite.engine.train.GRACE_S", 0.3)
    config = tiny(**{"Global.resume": "auto"})
    (tmp_path / "run").mkdir()
    other = FolderLock(tmp_path / "run")
    other.acquire()
    with pytest.raises(UserError, match="is in use by another process"):
        train(config)
    assert list((tmp_path / "run").iterdir()) == []
    other.release()
    train(config)
