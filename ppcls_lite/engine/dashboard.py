"""VisualDL records of a run. A dashboard that fails says so once and lets the run go on."""

import contextlib
import io
import logging
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)

RECORDS = "vdlrecords.train.log"

# A row's columns and their tags: two curves that share what stands before the slash share a page section.
TAGS = {
    "train_loss": "loss/train",
    "val_loss": "loss/val",
    "test_loss": "loss/test",
    "train_top1": "top1/train",
    "val_top1": "top1/val",
    "test_top1": "top1/test",
    "lr": "schedule/lr",
    "images_per_sec": "speed/images_per_sec",
}


class Dashboard:
    """Writes a run's curves by epoch, its configuration as text, and its final hparams with metrics."""

    def __init__(self, folder: Path, rows: list[dict[str, Any]]):
        """Open the records in ``folder``; ``rows`` are the epochs that a resumed run has behind it."""
        self.folder = folder
        self._writer = None
        self._alive = True
        records = folder / RECORDS
        if records.exists():
            # The writer opens behind what is cut here; a failure counts as the dashboard's, like any other.
            self._guard(lambda: rewind(records, rows[-1]["epoch"] if rows else 0))
        else:
            for row in rows:
                self.add_row(row)

    def add_row(self, row: dict[str, Any]) -> None:
        """Add a row of metrics.csv at its epoch."""
        for column, tag in TAGS.items():
            if row.get(column) is not None:
                self._attempt(lambda w, c=column, t=tag: w.add_scalar(t, float(row[c]), row["epoch"]))
        self._attempt(lambda w: w.flush())

    def add_config(self, settings: dict[str, Any]) -> None:
        """Add the resolved configuration, by dotted keys; the page folds white space, which YAML would not survive."""
        text = "  ".join(f"{key}={value}" for key, value in settings.items())
        self._attempt(lambda w: w.add_text("config", text, 0))

    def add_hparams(self, hparams: dict[str, Any], metrics: dict[str, float], step: int) -> None:
        """Add hyperparameters with final metrics; lists and truth values become text, which VisualDL takes."""
        plain = {k: v if type(v) in (int, float, str) else str(v) for k, v in hparams.items() if v is not None}

        def write(writer):
            writer.add_hparams(plain, list(metrics))
            for tag, value in metrics.items():
                writer.add_scalar(tag, float(value), step)

        self._attempt(write)

    def close(self) -> None:
        """Write out what is pending."""
        if self._writer is not None:
            self._attempt(lambda w: w.close())
        self._writer = None

    def _attempt(self, write: Callable[[Any], None]) -> None:
        def open_and_write():
            if self._writer is None:
                self._writer = _open(self.folder)
            write(self._writer)

        self._guard(open_and_write)

    def _guard(self, action: Callable[[], None]) -> None:
        if not self._alive:
            return
        try:
            action()
        except Exception as error:  # a failing dashboard must not end a night's training
            self._alive = False
            logger.warning("VisualDL failed (%s); the run goes on without it", error)


def _open(folder: Path):
    from visualdl import LogWriter  # imports pandas and more

    with contextlib.redirect_stdout(io.StringIO()):  # it announces that it will append
        return LogWriter(logdir=str(folder), file_name=RECORDS)


def rewind(records: Path, epoch: int) -> None:
    """Cut off what follows ``epoch``, and a record that a killed process left half written.

    The resumed run writes those epochs again, and behind half a record nothing could be read.
    """
    from visualdl.proto import record_pb2

    size, end = records.stat().st_size, 0
    with open(records, "r+b") as file:
        while end + 8 <= size:
            (length,) = struct.unpack("<Q", file.read(8))  # VisualDL's framing: length, then the record
            if end + 8 + length > size:
                break
            record = record_pb2.Record.FromString(file.read(length))
            if any(value.id > epoch for value in record.values if value.WhichOneof("one_value") == "value"):
                break
            end += 8 + length
        file.truncate(end)
