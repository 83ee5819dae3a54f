"""A disk that is full, read-only or gone: the run says so, and what was whole stays whole."""

import errno
import logging
import resource
import shutil
import subprocess
import sys

import pytest
from visualdl.io import bfile

from ppcls_lite.engine import callbacks
from ppcls_lite.engine.train import train
from ppcls_lite.runs.dashboard import RECORDS
from ppcls_lite.runs.run_dir import RunDir, read_progress, verify_checkpoint
from ppcls_lite.utils.errors import TrainingError
from tests.helpers import SHOWN, interrupt_at, rows, scalars
from tests.tools.helpers import QUICK, ROOT, SMALL, call_tool


@pytest.fixture
def at_epoch(monkeypatch):
    """``at_epoch(number, action)``: have ``action()`` happen once when an epoch begins."""

    def arrange(number, action):
        original = callbacks.TrainEpoch.on_epoch_begin
        todo = [action]

        def on_epoch_begin(self, epoch, logs=None):
            original(self, epoch, logs)
            if self.progress.row["epoch"] == number and todo:
                todo.pop()()

        monkeypatch.setattr(callbacks.TrainEpoch, "on_epoch_begin", on_epoch_begin)

    return arrange


@pytest.fixture
def no_file_larger_than():
    """``no_file_larger_than(size)``: the system refuses to write on in files of so many bytes."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_disk_without_room_ends_the_run_and_spares_what_is_whole(tiny, tmp_path, at_epoch, no_file_larger_than):
    larger = {"Arch.scale": 0.5}
    whole = train(tiny("whole", **larger))
    folder = tmp_path / "run"
    at_epoch(3, lambda: no_file_larger_than(100_000))  # a checkpoint's weights have 300,000 bytes
    with pytest.raises(
        TrainingError,
        match=r"run cannot be written to \(File too large\); .*epoch_0002 is complete; fix that, then cont",
    ):
        train(tiny(**larger, **SHOWN))
    no_file_larger_than(resource.RLIM_INFINITY)
    assert sorted(p.name for p in (folder / "checkpoints").iterdir()) == ["epoch_0001", "epoch_0002"]
    verify_checkpoint(folder / "checkpoints" / "epoch_0002")
    assert (folder / "last.pdparams").read_bytes() == (
        folder / "checkpoints" / "epoch_0002" / "model.pdparams"
    ).read_bytes()
    assert not list(folder.rglob("*.tmp"))
    assert train(tiny(**larger, **SHOWN, **{"Global.resume": "auto"}))["test_loss"] == whole["test_loss"]
    assert [step for step, _ in scalars(folder, "loss/train")] == [1, 2, 3]


def test_a_file_system_that_fills_up(tmp_path):
    """A real one, of 1,500 KiB and mounted for the tool alone: three checkpoints of 0.5 MiB do not fit."""
    small, copy = tmp_path / "small", tmp_path / "copy"
    small.mkdir()
    script = (
        'mount -t tmpfs -o size=1500k tmpfs "$0" || exit 77; "${@:2}"; status=$?; cp -a "$0/run" "$1"; exit $status'
    )
    train_there = [sys.executable, "tools/train.py", "-c", QUICK, "-o", f"Global.output_dir={small / 'run'}", *SMALL]
    command = ["unshare", "--user", "--map-root-user", "--mount", "bash", "-c", script, small, copy, *train_there]
    settings = ["Global.epochs=6", "Global.device=cpu", "Arch.scale=0.5"]
    done = subprocess.run([*map(str, command), *settings], cwd=ROOT, capture_output=True, text=True)
    if done.returncode == 77 or done.stderr.startswith("unshare:"):
        pytest.skip(f"nothing can be mounted here: {done.stderr.strip()}")
    assert done.returncode == 1, done.stderr
    (line,) = done.stderr.splitlines()
    newest = RunDir(copy).list_checkpoints()[-1]
    assert f"run cannot be written to (No space left on device); {small / 'run/checkpoints' / newest.name} is" in line
    assert read_progress(newest).epoch < 6
    assert not list(copy.rglob("*.tmp"))

    resumed = call_tool(
        "tools/train.py", "-c", copy / "config.yaml", "-o", f"Global.output_dir={copy}", "Global.resume=auto"
    )
    assert resumed.returncode == 0, resumed.stderr
    assert f"resumed from {newest}" in resumed.stdout
    assert (
        [int(row["epoch"]) for row in rows(copy)] == [step for step, _ in scalars(copy, "loss/train")] == [*range(1, 7)]
    )


def test_a_folder_that_vanishes_is_said_and_not_made_anew(tiny, tmp_path, at_epoch):
    at_epoch(2, lambda: shutil.rmtree(tmp_path / "run"))
    with pytest.raises(TrainingError, match=r"run cannot be written to .*; there is no checkpoint yet"):
        train(tiny())
    assert not (tmp_path / "run").exists()


def test_a_log_that_cannot_be_written_is_said_once(tiny, tmp_path, capsys, monkeypatch):
    def create(self):
        self.path.mkdir()
        self.log.symlink_to("/dev/full")

    monkeypatch.setattr(RunDir, "create", create)
    monkeypatch.setattr(logging, "raiseExceptions", True)
    train(tiny())
    printed = capsys.readouterr().err
    assert printed.count("train.log cannot be written to ([Errno 28] No space left") == 1
    assert "Traceback" not in printed


def test_a_log_that_cannot_be_opened_is_said(tiny, tmp_path, capsys, monkeypatch):
    def create(self):
        self.path.mkdir()
        self.log.symlink_to(tmp_path / "gone" / "train.log")

    monkeypatch.setattr(RunDir, "create", create)
    assert train(tiny())["epochs"] == 3
    assert "train.log cannot be written to (No such file or directory); the run continues" in capsys.readouterr().err


def test_a_dashboard_without_room_is_said_once_and_made_good(tiny, tmp_path, at_epoch, caplog, monkeypatch):
    """As a full disk does: half a record, then nothing, and VisualDL's thread keeps the error to itself."""
    write = bfile.BFile.write

    def write_half(self, content):
        write(self, content[: len(content) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        at_epoch(2, lambda: patch.setattr(bfile.BFile, "write", write_half))
        interrupt_at(patch, epoch=4, step=1)
        with pytest.raises(KeyboardInterrupt):
            train(tiny(**SHOWN, **{"Global.epochs": 5}))
    folder = tmp_path / "run"
    assert caplog.text.count("VisualDL failed") == 1 and "VisualDL failed" in (folder / "train.log").read_text()
    assert [step for step, _ in scalars(folder, "loss/train")] == [1]  # readable
    train(tiny(**SHOWN, **{"Global.epochs": 5, "Global.resume": "auto"}))
    assert [step for step, _ in scalars(folder, "loss/train")] == [1, 2, 3, 4, 5]


def test_a_damaged_dashboard_is_made_good(tiny, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        interrupt_at(patch, epoch=4, step=1)
        with pytest.raises(KeyboardInterrupt):
            train(tiny(**SHOWN, **{"Global.epochs": 4}))
    records = tmp_path / "run" / "vdl" / RECORDS
    content = bytearray(records.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 400] = bytes(255 - i % 256 for i in range(400))
    records.write_bytes(content)
    train(tiny(**SHOWN, **{"Global.epochs": 4, "Global.resume": "auto"}))
    assert [step for step, _ in scalars(tmp_path / "run", "loss/train")] == [1, 2, 3, 4]


def test_a_full_standard_output_is_said_once(tmp_path):
    command = [sys.executable, "tools/train.py", "-c", QUICK, "-o", f"Global.output_dir={tmp_path / 'run'}", *SMALL]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 0
    assert done.stderr.startswith("warning: standard output cannot be written to ([Errno 28]")
    assert len(done.stderr.splitlines()) == 1
