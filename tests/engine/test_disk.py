"""A disk that is full, read-only or gone: the run says so, and what was whole stays whole."""

import logging
import resource
import shutil

import pytest

from ppcls_lite.engine import callbacks
from ppcls_lite.engine.run_dir import RunDir, verify_checkpoint
from ppcls_lite.engine.train import train
from ppcls_lite.errors import TrainingError
from tests.engine.helpers import scalars


@pytest.fixture
def at_epoch(monkeypatch):
    """``at_epoch(number, action)``: have ``action()`` happen once when an epoch begins."""

    def arrange(number, action):
        original = callbacks.EpochStart.on_epoch_begin
        todo = [action]

        def on_epoch_begin(self, epoch, logs=None):
            original(self, epoch, logs)
            if self.progress.row["epoch"] == number and todo:
                todo.pop()()

        monkeypatch.setattr(callbacks.EpochStart, "on_epoch_begin", on_epoch_begin)

    return arrange


@pytest.fixture
def no_file_larger_than():
    """``no_file_larger_than(size)``: the system refuses to write on in files of so many bytes."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_disk_without_room_ends_the_run_and_spares_what_is_whole(tiny, tmp_path, at_epoch, no_file_larger_than):
    whole = train(tiny("whole"))
    folder = tmp_path / "run"
    at_epoch(3, lambda: no_file_larger_than(100_000))  # a checkpoint's weights have 240,000 bytes
    with pytest.raises(
        TrainingError, match=r"run cannot be written to \(File too large\); .*epoch_0002 is whole; mend that, then cont"
    ):
        train(tiny())
    no_file_larger_than(resource.RLIM_INFINITY)
    assert sorted(p.name for p in (folder / "checkpoints").iterdir()) == ["epoch_0001", "epoch_0002"]
    verify_checkpoint(folder / "checkpoints" / "epoch_0002")
    assert (folder / "last.pdparams").read_bytes() == (
        folder / "checkpoints" / "epoch_0002" / "model.pdparams"
    ).read_bytes()
    assert not list(folder.rglob("*.tmp"))
    assert train(tiny(**{"Global.resume": "auto"}))["test_loss"] == whole["test_loss"]
    assert [step for step, _ in scalars(folder, "loss/train")] == [1, 2, 3]


def test_a_folder_that_vanishes_is_said_and_not_made_anew(tiny, tmp_path, at_epoch):
    at_epoch(2, lambda: shutil.rmtree(tmp_path / "run"))
    with pytest.raises(TrainingError, match=r"run cannot be written to .*; there is no checkpoint yet"):
        train(tiny())
    assert not (tmp_path / "run" / "checkpoints").exists()


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
