"""Reading what a run wrote, stopping one, and choosing variants."""

import csv

import numpy as np
import pytest
from visualdl import LogReader
from visualdl.proto import record_pb2
from visualdl.reader.record_reader import RecordReader

from ppcls_lite.data import Split
from ppcls_lite.engine import callbacks
from ppcls_lite.runs.dashboard import RECORDS

SHOWN = {"Global.use_visualdl": True}  # a setting of ``tiny``: with the dashboard


def rows(folder):
    with open(folder / "metrics.csv") as file:
        return list(csv.DictReader(file))


def without_timing(row):
    return {key: value for key, value in row.items() if key not in ("images_per_sec", "seconds")}


def scalars(folder, tag):
    reader = LogReader(file_path=str(folder / "vdl" / RECORDS))
    return [(point.id, point.value) for point in reader.get_data("scalar", tag)]


def records(folder):
    """All values in a run's VisualDL records, in their order."""
    reader = RecordReader(filepath=str(folder / "vdl" / RECORDS))
    found = []
    while True:
        try:
            found.extend(record_pb2.Record.FromString(reader.get_next()).values)
        except StopIteration:
            return found


def interrupt_at(monkeypatch, epoch, step, error=KeyboardInterrupt):
    """Stop training in a step as Ctrl-C does."""
    original = callbacks.TrainEpoch.on_train_batch_end

    def on_train_batch_end(self, number, logs=None):
        if self.progress.row["epoch"] == epoch and number == step:
            raise error
        original(self, number, logs)

    monkeypatch.setattr(callbacks.TrainEpoch, "on_train_batch_end", on_train_batch_end)


def labelled(split: Split, column: str = "label") -> tuple[Split, np.ndarray]:
    """A split and its targets, the first arguments of ``BatchLoader``."""
    return split, split.targets[column]


def slow_except(names, always):
    """Parameters of a test: ``names``, of which those outside ``always`` run with ``-m slow`` only."""
    return [name if name in always else pytest.param(name, marks=pytest.mark.slow) for name in names]
