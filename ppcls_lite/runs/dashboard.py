"""VisualDL records of a run. A dashboard that fails says so once and lets the run go on."""

import contextlib
import io
import logging
import os
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import paddle
from matplotlib.figure import Figure

from ppcls_lite.pictures import plots

logger = logging.getLogger(__name__)

RECORDS = "vdlrecords.train.log"


# What stands before the slash of a tag is a section of the page, and the first by the alphabet is the one that opens.
def tags_of(metrics: Sequence[str]) -> dict[str, str]:
    """The tag of each column of a run whose task has these metrics, the headline first."""
    parts = ("train", "val", "test")
    tags = {f"{part}_{name}": f"accuracy/{name}_{part}" for name in metrics[:1] for part in parts}
    tags |= {f"{part}_loss": f"loss/{part}" for part in parts}
    tags |= {f"{part}_{name}": f"metrics/{name}_{part}" for name in metrics[1:] for part in parts if name != "top5"}
    return tags | {"lr": "schedule/lr", "images_per_sec": "speed/images_per_sec"}


class Dashboard:
    """Writes a run's curves, weights and pictures by epoch, its configuration as text, and its hparams with metrics."""

    def __init__(self, folder: Path, rows: list[dict[str, Any]], name: str, metrics: Sequence[str] = ()):
        """Open the records in ``folder``.

        Args:
            folder: for this run alone.
            rows: the epochs that a resumed run has behind it; those that are missing are added.
            name: what the pages call the run; of runs with the same name they show one.
            metrics: of the task, the headline first.
        """
        self.folder, self.name, self._tags = folder, name, tags_of(metrics)
        self._writer = None
        self._alive = True
        self._home = folder.parent if folder.parent.is_dir() else None
        self._records = folder / RECORDS
        self._complete, self._whole = 0, 0
        self.is_new = not self._records.exists()
        if not self.is_new:
            # The writer opens behind what is cut here; a failure counts as the dashboard's, like any other.
            self._guard(lambda: self._rewind(rows))
        for row in rows[self._complete :]:
            self.add_row(row)

    def add_row(self, row: dict[str, Any]) -> None:
        """Add a row of metrics.csv at its epoch."""
        for column in self._measured(row):
            self._attempt(lambda w, c=column: w.add_scalar(self._tags[c], float(row[c]), row["epoch"]))
        self._attempt(lambda w: w.flush())
        self._guard(lambda: self._check(row))

    def _check(self, row: dict[str, Any]) -> None:
        """See that all has reached the disk: VisualDL's thread keeps its errors to itself.

        Behind half a record its pages could read nothing, so that is cut off.
        """
        found = list(read_records(self._records, self._whole))
        end = found[-1][0] if found else self._whole
        if end < self._records.stat().st_size:
            os.truncate(self._records, end)
            raise OSError(f"{self._records} cannot be written to")
        there = {value.tag for _, record in found for value in record.values if value.id == row["epoch"]}
        if not there >= {self._tags[column] for column in self._measured(row)}:
            raise OSError(f"{self._records} cannot be written to")
        self._whole = end

    def _rewind(self, rows: list[dict[str, Any]]) -> None:
        needed = {row["epoch"]: {self._tags[column] for column in self._measured(row)} for row in rows}
        self._complete = rewind(self._records, needed)
        self._whole = self._records.stat().st_size

    def _measured(self, row: dict[str, Any]) -> list[str]:
        return [column for column in self._tags if row.get(column) is not None]

    def add_config(self, settings: dict[str, Any]) -> None:
        """Add the resolved configuration, by dotted keys; the page folds white space, which YAML would not survive."""
        text = "  ".join(f"{key}={value}" for key, value in settings.items())
        self._attempt(lambda w: w.add_text("config", text, 0))

    def add_training_images(self, images: np.ndarray) -> None:
        """Add a grid of images, float [N, C, H, W] in [0, 1], as ``images/training``."""
        self.add_picture("training", plots.tile(images))

    def add_pictures(self, part: str, figures: Mapping[str, Figure], epoch: int) -> None:
        """Add a task's pictures of a scored part as ``images/NAME_PART``."""
        for name, figure in figures.items():
            self.add_picture(f"{name}_{part}", figure, epoch)

    def add_picture(self, name: str, picture: np.ndarray | Figure, step: int = 0) -> None:
        """Add a matplotlib figure, or an image uint8 [H, W, 3], as ``images/NAME``."""
        kind = "add_figure" if isinstance(picture, Figure) else "add_image"
        self._attempt(lambda w: getattr(w, kind)(f"images/{name}", picture, step))

    def add_weights(self, network: paddle.nn.Layer, epoch: int) -> None:
        """Add a histogram of every convolution's and fully connected layer's weights."""

        def write(writer):
            for name, parameter in network.named_parameters():
                if parameter.ndim > 1:
                    writer.add_histogram(f"weights/{name}", parameter.numpy(), epoch, buckets=40)

        self._attempt(write)

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
            if self._home and not self._home.is_dir():  # VisualDL would make it anew
                raise FileNotFoundError(f"{self._home} is gone")
            if self._writer is None:
                self._writer = _open(self.folder, self.name)
            write(self._writer)

        self._guard(open_and_write)

    def _guard(self, action: Callable[[], None]) -> None:
        if not self._alive:
            return
        try:
            action()
        except Exception as error:  # a failing dashboard must not end a night's training
            self._alive = False
            logger.warning(
                "warning: VisualDL failed (%s); the run goes on without it, and a resumed one fills in", error
            )


def _open(folder: Path, name: str):
    from visualdl import LogWriter  # imports pandas and more

    with contextlib.redirect_stdout(io.StringIO()):  # it announces that it will append
        return LogWriter(logdir=str(folder), file_name=RECORDS, display_name=name)


def rewind(records: Path, needed: Mapping[int, set[str]]) -> int:
    """Cut off all that does not belong to the epochs that a resumed run has behind it.

    That is what follows them, since the run writes it again; what follows a gap, as a full disk leaves; and a record
    that is damaged or half written, as a killed process leaves it, with all behind, which cannot be read.

    Args:
        needed: for each of these epochs, 1 and following, the tags of its scalars.

    Returns:
        The last epoch that is there with all of them; 0 for none.
    """
    found = list(read_records(records))
    there: dict[int, set[str]] = {}
    for _, record in found:
        for value in record.values:
            if value.WhichOneof("one_value") == "value":
                there.setdefault(value.id, set()).add(value.tag)
    complete = 0
    while complete + 1 in needed and needed[complete + 1] <= there.get(complete + 1, set()):
        complete += 1
    keep = 0
    for end, record in found:
        # The settings with the final metrics come last, and always carry 1.
        if any(value.id > complete or value.WhichOneof("one_value") == "hparam" for value in record.values):
            break
        keep = end
    os.truncate(records, keep)
    return complete


def read_records(records: Path, start: int = 0) -> Iterator[tuple[int, Any]]:
    """VisualDL's records from position ``start`` to the first that is not whole, each with the position behind it."""
    from google.protobuf.message import DecodeError
    from visualdl.proto import record_pb2

    size, end = records.stat().st_size, start
    with open(records, "rb") as file:
        file.seek(start)
        while end + 8 <= size:
            (length,) = struct.unpack("<Q", file.read(8))  # VisualDL's framing: length, then the record
            if end + 8 + length > size:
                return
            try:
                record = record_pb2.Record.FromString(file.read(length))
            except DecodeError:
                return
            end += 8 + length
            yield end, record
