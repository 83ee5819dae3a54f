"""Resuming: an interruption changes nothing, and nothing is taken that does not fit or overwritten."""

import json
import math
import shutil
import signal
import subprocess
from pathlib import Path

import paddle
import pytest
import yaml

from ppcls_lite.config import load as configs
from ppcls_lite.engine import callbacks
from ppcls_lite.engine.train import train
from ppcls_lite.runs import run_dir
from ppcls_lite.runs.checkpoint import restore_weights
from ppcls_lite.runs.dashboard import RECORDS, Dashboard, rewind
from ppcls_lite.runs.resume import use_actual_output_dir
from ppcls_lite.runs.run_dir import RunDir, verify_checkpoint
from ppcls_lite.tasks.setup import complete, load_setup
from ppcls_lite.utils.errors import TrainingError, UserError
from ppcls_lite.utils.files import digest
from ppcls_lite.utils.lock import FolderLock
from tests.helpers import SHOWN, interrupt_at, rows, scalars, slow_except, without_timing

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("optimizer", slow_except(["Momentum", "Adam", "AdamW"], ["Momentum", "Adam"]))
def test_an_interrupted_and_resumed_run_equals_the_uninterrupted_one(tiny, tmp_path, monkeypatch, optimizer):
    settings = {**SHOWN, "Optimizer.name": optimizer, "DataLoader.val_fraction": 0.1}
    whole = train(tiny("whole", **settings))
    with monkeypatch.context() as patch:
        interrupt_at(patch, epoch=3, step=2)
        with pytest.raises(KeyboardInterrupt):
            train(tiny("broken", **settings))
    assert not (tmp_path / "broken" / "result.json").exists()
    resumed = train(tiny("broken", **settings, **{"Global.resume": "auto"}))

    timing = ("images_per_sec", "started", "wall_s")
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
    (tmp_path / "run" / "config.yaml").write_text(complete(tiny(**{"Global.epochs": 2})).config.to_yaml())
    assert train(tiny(**{"Global.epochs": 2, "Global.resume": "auto"}))["epochs"] == 2
    assert not list((tmp_path / "run").rglob("*.tmp"))


def test_a_kill_between_checkpoint_and_result_is_made_good(tiny, tmp_path):
    result = train(tiny(**{"Global.epochs": 2}))
    (tmp_path / "run" / "result.json").unlink()
    (tmp_path / "run" / "metrics.csv").unlink()
    (tmp_path / "run" / "last.pdparams").unlink()
    assert train(tiny(**{"Global.epochs": 2, "Global.resume": "auto"})) == result
    assert (tmp_path / "run" / "last.pdparams").exists() and len(rows(tmp_path / "run")) == 2


def test_a_kill_before_old_checkpoints_are_deleted_is_made_good(tiny, tmp_path):
    train(tiny())
    folder = tmp_path / "run"
    (folder / "result.json").unlink()
    shutil.copytree(folder / "checkpoints" / "epoch_0002", folder / "checkpoints" / "epoch_0001")
    train(tiny(**{"Global.resume": "auto"}))
    assert sorted(p.name for p in (folder / "checkpoints").iterdir()) == ["epoch_0002", "epoch_0003"]


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


def test_a_run_from_before_a_setting_existed_goes_on(tiny, tmp_path, monkeypatch):
    """ResNets had no ``scale`` once, and state.json no ``started``."""
    network = {"Arch": {"name": "resnet20", "scale": 1.0}, "Global.epochs": 2}
    with monkeypatch.context() as patch:
        interrupt_at(patch, epoch=2, step=1)
        with pytest.raises(KeyboardInterrupt):
            train(tiny(**network))
    folder = tmp_path / "run"
    old = yaml.safe_load((folder / "config.yaml").read_text())
    del old["Arch"]["scale"]
    (folder / "config.yaml").write_text(yaml.safe_dump(old))
    checkpoint = folder / "checkpoints" / "epoch_0001"
    state = json.loads((checkpoint / "state.json").read_text())
    del state["started"]
    (checkpoint / "state.json").write_text(json.dumps(state))
    sums = [f"{digest(checkpoint / name)}  {name}\n" for name in ("model.pdparams", "model.pdopt", "state.json")]
    (checkpoint / "SHA256SUMS").write_text("".join(sums))
    with pytest.raises(UserError, match=r"other settings \(Arch.scale was 1.0, is 0.5\)"):
        train(tiny(**{**network, "Arch": {"name": "resnet20", "scale": 0.5}, "Global.resume": "auto"}))
    result = train(tiny(**network, **{"Global.resume": "auto"}))
    assert result["epochs"] == 2 and result["started"] is None


def test_a_new_setting_at_its_default_leaves_the_fingerprint(tiny):
    """That of configs/cifar/resnet20.yaml as it was before ResNets had ``scale``."""
    config = load_setup(ROOT / "configs/cifar/resnet20.yaml").config
    assert config.sha256() == "6970b7b061783f523d385c5a9f79cee03b0c9b382828137502b8b5f1587e59e1"
    assert load_setup(ROOT / "configs/cifar/resnet20.yaml", ["Arch.scale=0.5"]).config.sha256() != config.sha256()


def test_rewinding_records_cuts_later_epochs_and_half_a_record(finished, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(finished[0] / "vdl", folder / "vdl")
    records = folder / "vdl" / RECORDS
    records.write_bytes(records.read_bytes() + records.read_bytes()[:30])
    tags = {"loss/train", "loss/val", "schedule/lr"}
    assert rewind(records, dict.fromkeys((1, 2, 3), tags)) == 3
    assert [step for step, _ in scalars(folder, "loss/train")] == [1, 2, 3]


def test_a_resumed_run_s_curves_have_each_epoch_once(tiny, tmp_path, monkeypatch):
    settings = {**SHOWN, "Global.save_interval": 2, "Global.epochs": 4}
    with monkeypatch.context() as patch:
        interrupt_at(patch, epoch=4, step=1)  # epoch 3 is on the dashboard and in no checkpoint
        with pytest.raises(KeyboardInterrupt):
            train(tiny(**settings))
    train(tiny(**settings, **{"Global.resume": "auto"}))
    assert [step for step, _ in scalars(tmp_path / "run", "loss/train")] == [1, 2, 3, 4]


def test_epochs_that_the_dashboard_missed_are_made_good(tiny, tmp_path, monkeypatch):
    """As when the disk was full for a while: epochs 2 and 3 are in the checkpoint, and not in VisualDL."""
    add_row = Dashboard.add_row
    with monkeypatch.context() as patch:
        patch.setattr(Dashboard, "add_row", lambda self, row: add_row(self, row) if row["epoch"] in (1, 4) else None)
        interrupt_at(patch, epoch=5, step=1)
        with pytest.raises(KeyboardInterrupt):
            train(tiny(**SHOWN, **{"Global.epochs": 5}))
    assert [step for step, _ in scalars(tmp_path / "run", "loss/train")] == [1, 4]
    train(tiny(**SHOWN, **{"Global.epochs": 5, "Global.resume": "auto"}))
    losses = [float(row["train_loss"]) for row in rows(tmp_path / "run")]
    shown = scalars(tmp_path / "run", "loss/train")
    assert [step for step, _ in shown] == [1, 2, 3, 4, 5] and [value for _, value in shown] == pytest.approx(losses)


def test_a_run_resumed_elsewhere_has_the_best_weights_and_all_curves(tiny, tmp_path, monkeypatch):
    settings = {**SHOWN, "DataLoader.val_fraction": 0.1}
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
        (lambda c: flip_a_bit(c / "model.pdparams"), "model.pdparams is damaged: its checksum"),
        (lambda c: (c / "state.json").write_text("{}"), "state.json is damaged"),
        (lambda c: (c / "SHA256SUMS").write_text(""), "SHA256SUMS is damaged"),
        (lambda c: (c / "SHA256SUMS").write_bytes(b"\xff\xfe"), "SHA256SUMS is damaged"),
        (lambda c: (c / "SHA256SUMS").unlink(), "SHA256SUMS cannot be read"),
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


def flip_a_bit(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_a_damaged_checkpoint_is_named_and_the_one_before_used(tiny, tmp_path, caplog):
    whole = train(tiny("whole", **{"DataLoader.val_fraction": 0.1}))
    train(tiny(**{"DataLoader.val_fraction": 0.1}))
    folder = tmp_path / "run"
    (folder / "result.json").unlink()
    flip_a_bit(folder / "checkpoints" / "epoch_0003" / "model.pdopt")
    resumed = train(tiny(**{"DataLoader.val_fraction": 0.1, "Global.resume": "auto"}))
    log = (folder / "train.log").read_text()
    damaged = folder / "checkpoints" / "epoch_0003"
    assert f"{damaged / 'model.pdopt'} is damaged: its checksum is not that in SHA256SUMS; resuming" in caplog.text
    assert f"{damaged} is kept as epoch_0003.damaged" in log
    assert f"resumed from {folder / 'checkpoints' / 'epoch_0002'} after 2 of 3 epochs" in log
    assert resumed["test_loss"] == whole["test_loss"] and resumed["best_epoch"] == whole["best_epoch"]
    names = {path.name for path in (folder / "checkpoints").iterdir()}
    assert {"epoch_0002", "epoch_0003", "epoch_0003.damaged"} <= names
    for name in ("last.pdparams", "best.pdparams"):
        assert (folder / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_run_without_a_whole_checkpoint_is_not_begun_anew(tiny, tmp_path):
    train(tiny(**{"Global.epochs": 2}))
    (tmp_path / "run" / "result.json").unlink()
    for epoch in (1, 2):
        flip_a_bit(tmp_path / "run" / "checkpoints" / f"epoch_000{epoch}" / "state.json")
    with pytest.raises(UserError, match=r"all checkpoints of .*/run are damaged: .*epoch_0002/state.json is damaged"):
        train(tiny(**{"Global.epochs": 2, "Global.resume": "auto"}))


def test_checksums_are_those_of_sha256sum(finished):
    folder = finished[0] / "checkpoints" / "epoch_0004"
    subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"], cwd=folder, check=True)
    assert sorted(p.name for p in folder.iterdir()) == ["SHA256SUMS", "model.pdopt", "model.pdparams", "state.json"]


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt, pytest.param(SystemExit, marks=pytest.mark.slow), TrainingError("no number")]
)
def test_epochs_that_the_interval_passed_by_are_saved_when_a_run_ends_early(tiny, tmp_path, monkeypatch, error):
    settings = {"Global.save_interval": 3, "Global.epochs": 5}
    whole = train(tiny("whole", **settings))
    with monkeypatch.context() as patch:
        interrupt_at(patch, epoch=3, step=1, error=error)
        with pytest.raises(error if isinstance(error, type) else type(error)):
            train(tiny(**settings))
    assert [p.name for p in (tmp_path / "run" / "checkpoints").iterdir()] == ["epoch_0002"]
    resumed = train(tiny(**settings, **{"Global.resume": "auto"}))
    assert resumed["test_loss"] == whole["test_loss"]


def test_a_kill_before_the_configuration_is_written_leaves_a_fresh_start(tiny, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".config.yaml.tmp").write_text("Arch")
    assert train(tiny(**{"Global.epochs": 2}))["epochs"] == 2


def test_a_folder_that_another_process_writes_to_is_refused(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr("ppcls_lite.engine.train.LOCK_PATIENCE_S", 0.3)
    config = tiny(**{"Global.resume": "auto"})
    (tmp_path / "run").mkdir()
    other = FolderLock(tmp_path / "run")
    other.acquire()
    with pytest.raises(UserError, match="is in use by another process"):
        train(config)
    assert list((tmp_path / "run").iterdir()) == []
    other.release()
    train(config)


@pytest.mark.parametrize("moment", ["write_bytes", "prune"])
def test_ctrl_c_waits_until_a_checkpoint_is_whole(tiny, tmp_path, monkeypatch, moment):
    whole = train(tiny("whole"))
    target = run_dir.RunDir if moment == "prune" else run_dir.Path
    original = getattr(target, moment)

    def interrupted(self, *arguments):
        if moment == "prune" or "epoch_0002" in str(self):
            monkeypatch.setattr(target, moment, original)
            signal.raise_signal(signal.SIGINT)
        return original(self, *arguments)

    monkeypatch.setattr(target, moment, interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(tiny())
    newest = RunDir(tmp_path / "run").list_checkpoints()[-1]
    assert newest.name == ("epoch_0001" if moment == "prune" else "epoch_0002")
    verify_checkpoint(newest)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert train(tiny(**{"Global.resume": "auto"}))["test_loss"] == whole["test_loss"]


def test_ctrl_c_twice_loses_no_finished_epoch(tiny, tmp_path, monkeypatch, caplog):
    settings = {"Global.save_interval": 3, "Global.epochs": 5}
    save = callbacks.save_snapshot

    def save_interrupted(*arguments):
        signal.raise_signal(signal.SIGINT)
        save(*arguments)

    monkeypatch.setattr(callbacks, "save_snapshot", save_interrupted)
    interrupt_at(monkeypatch, epoch=3, step=1)
    with pytest.raises(KeyboardInterrupt):
        train(tiny(**settings))
    assert [folder.name for folder in RunDir(tmp_path / "run").list_checkpoints()] == ["epoch_0002"]
    assert "stopped in epoch 3; continue with: python tools/train.py -c" in caplog.text


def test_a_kill_before_the_first_checkpoint_was_copied_begins_there_again(tiny, tmp_path, monkeypatch):
    whole = train(tiny("whole"))
    checkpoint = tmp_path / "whole" / "checkpoints" / "epoch_0002"
    with monkeypatch.context() as patch:
        patch.setattr(RunDir, "adopt", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            train(tiny("elsewhere", **{"Global.checkpoints": str(checkpoint)}))
    assert RunDir(tmp_path / "elsewhere").list_checkpoints() == []
    resumed = train(tiny("elsewhere", **{"Global.resume": "auto"}))
    assert resumed["test_loss"] == whole["test_loss"]
    assert RunDir(tmp_path / "elsewhere").origin() == checkpoint
    assert "resumed from" in (tmp_path / "elsewhere" / "train.log").read_text()


def test_a_run_that_goes_on_elsewhere_follows_its_own_schedule(tiny, tmp_path):
    """Cosine over 4 epochs ends at 0; over 8 it is halfway down."""
    schedule = {"Optimizer.lr": {"name": "Cosine", "learning_rate": 0.05}}
    train(tiny("short", **schedule, **{"Global.epochs": 4}))
    longer = {"Global.epochs": 6, "Global.checkpoints": str(tmp_path / "short")}
    train(tiny("long", **schedule, **longer))
    rates = [float(row["lr"]) for row in rows(tmp_path / "long")][4:]
    # The rate of an epoch's last step, of 4 steps each.
    expected = [0.025 * (1 + math.cos(math.pi * (4 * epoch - 1) / 24)) for epoch in (5, 6)]
    assert rates == pytest.approx(expected)


def test_a_run_folder_that_was_moved_is_gone_on_with_where_it_lies(tiny, tmp_path, monkeypatch, caplog):
    with monkeypatch.context() as patch:
        interrupt_at(patch, epoch=2, step=1)
        with pytest.raises(KeyboardInterrupt):
            train(tiny())
    moved = (tmp_path / "run").rename(tmp_path / "moved")
    file = moved / "config.yaml"
    config = use_actual_output_dir(configs.load(file, ["Global.resume=auto"]), file, ["Global.resume=auto"])
    assert config.Global.output_dir == str(moved)
    assert f"Global.output_dir is {moved}, the folder of {file}, instead of {tmp_path / 'run'}" in caplog.text
    assert train(config)["epochs"] == 3
    assert not (tmp_path / "run").exists()
    asked = ["Global.output_dir=elsewhere"]
    assert use_actual_output_dir(configs.load(file, asked), file, asked).Global.output_dir == "elsewhere"
    (tmp_path / "config.yaml").write_text("Arch: {name: resnet20}")
    file = tmp_path / "config.yaml"
    assert use_actual_output_dir(configs.load(file), file, []).Global.output_dir


def test_weights_without_a_checkpoint_are_not_written_over(tiny, tmp_path):
    train(tiny(**{"Global.epochs": 2}))
    folder = tmp_path / "run"
    (folder / "result.json").unlink()
    shutil.rmtree(folder / "checkpoints")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(
        UserError, match=r"has weights but no checkpoint to resume from; choose another Global.output_dir"
    ):
        train(tiny(**{"Global.epochs": 2, "Global.resume": "auto"}))
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("text", [None, "{{{", "[" * 5000])
def test_a_configuration_that_is_lost_or_damaged_is_named(tiny, tmp_path, text):
    train(tiny(**{"Global.epochs": 2}))
    (tmp_path / "run" / "config.yaml").unlink()
    if text:
        (tmp_path / "run" / "config.yaml").write_text(text)
    with pytest.raises(UserError, match=r"run is not empty, and its config.yaml is missing or damaged; restore it"):
        train(tiny(**{"Global.epochs": 2, "Global.resume": "auto"}))


def test_best_weights_that_are_gone_are_told(tmp_path, caplog):
    progress = run_dir.Progress(epoch=3, best_epoch=2)
    (tmp_path / "last.pdparams").write_bytes(b"")
    restore_weights(RunDir(tmp_path), progress)
    sums, best = tmp_path / "checkpoints/epoch_0002/SHA256SUMS", tmp_path / "best.pdparams"
    assert f"warning: {sums} cannot be read: No such file or directory; {best} is not restored" in caplog.messages


def test_two_beginnings_are_one_too_many(tiny, tmp_path):
    train(tiny("source", **{"Global.epochs": 2}))
    both = {"Global.checkpoints": str(tmp_path / "source"), "Global.pretrained_model": str(tmp_path / "source")}
    with pytest.raises(UserError, match=r"Global.checkpoints and Global.pretrained_model both give"):
        train(tiny(**both))
    assert not (tmp_path / "run").exists()


def test_a_checkpoint_folder_may_have_any_name(tiny, tmp_path):
    whole = train(tiny("whole"))
    shutil.copytree(tmp_path / "whole" / "checkpoints" / "epoch_0002", tmp_path / "mine")
    resumed = train(tiny("next", **{"Global.checkpoints": str(tmp_path / "mine")}))
    assert resumed["test_loss"] == whole["test_loss"]
    folders = RunDir(tmp_path / "next").list_checkpoints()
    assert [folder.name for folder in folders] == ["epoch_0002", "epoch_0003"]


def test_a_folder_that_another_run_has_used_meanwhile_is_refused(tmp_path):
    late = RunDir(tmp_path / "run")
    assert not late.is_used()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "metrics.csv").write_text("another's")
    with pytest.raises(UserError, match="is not empty"):
        late.create()
    late.lock.release()


@pytest.mark.parametrize(
    "change",
    [
        {"epoch": 300_000_000},
        {"epoch": 10**30},
        {"best_epoch": [1]},
        {"processes": "a"},
        {"wall_s": None},
        {"rows": 3},
        {"rows": [{"epoch": 1}, {"epoch": 2}]},
    ],
)
def test_progress_of_a_wrong_form_is_named(finished, tmp_path, change):
    checkpoint = tmp_path / "epoch_0002"
    checkpoint.mkdir()
    progress = run_dir.read_progress(finished[0] / "checkpoints" / "epoch_0004")
    stored = {**json.loads(progress.to_json()), **change}
    (checkpoint / "state.json").write_text(json.dumps(stored))
    with pytest.raises(UserError, match=r"epoch_0002/state.json is damaged"):
        run_dir.read_progress(checkpoint)
