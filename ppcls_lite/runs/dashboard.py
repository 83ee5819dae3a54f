"""VisualDL records of a run. If writing them fails, one warning is logged and the run continues without them."""

import contextlib
import io
import logging
import os
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import paddle

if TYPE_CHECKING:
    from matplotlib.figure import Figure  # matplotlib takes a second to import

logger = logging.getLogger(__name__)

RECORDS = "vdlrecords.train.log"


def tags_of(metrics: Sequence[str]) -> dict[str, str]:
    """The tag for each column of metrics.csv; ``metrics`` are the task's, the headline first.

    VisualDL makes a section of what precedes the slash, and opens the section that is first in alphabetical order.
    ``loss`` and the losses of heads, ``HEAD_loss``, have a section, also where one of them is the headline.
    """
    tags = {}
    for part in ("train", "val", "test", "val_ema", "test_ema"):
        tags[f"{part}_loss"] = f"loss/{part}"
        for name in metrics:
            if name.endswith("_loss"):
                tags[f"{part}_{name}"] = f"loss/{name.removesuffix('_loss')}_{part}"
            elif name == metrics[0] != "loss":
                tags[f"{part}_{name}"] = f"accuracy/{name}_{part}"
            elif name != "loss" and not name.endswith("top5"):
                tags[f"{part}_{name}"] = f"metrics/{name}_{part}"
    return tags | {"lr": "schedule/lr", "images_per_sec": "speed/images_per_sec"}


class Dashboard:
    """Writes curves, histograms of weights, pictures, the configuration as text, and hyperparameters.

    Args:
        folder: for this run alone.
        rows: the finished epochs of a resumed run; those that are missing in the records are added.
        name: of the run on the pages, which show only one of several runs with the same name.
        metrics: of the task, the headline first.
        enabled: if False, nothing is written.
    """

    def __init__(
        self, folder: Path, rows: list[dict[str, Any]], name: str, metrics: Sequence[str] = (), enabled: bool = True
    ):
        self.folder, self.name, self._tags = folder, name, tags_of(metrics)
        self._writer, self._alive = None, enabled
        self._parent = folder.parent if folder.parent.is_dir() else None
        self._records = folder / RECORDS
        self._complete = 0  # the last epoch that the records have
        self._checked = 0  # bytes of the records that are known to be complete
        self.is_new = not self._records.exists()
        if not self.is_new:
            self._guard(lambda: self._rewind(rows))
        for row in rows[self._complete :]:
            self.add_row(row)

    def add_row(self, row: dict[str, Any]) -> None:
        """Add a row of metrics.csv at its epoch."""

        def write(writer):
            for column in self._measured(row):
                writer.add_scalar(self._tags[column], float(row[column]), row["epoch"])
            writer.flush()
            self._check()

        self._attempt(write)

    def _check(self) -> None:
        """Raise OSError if VisualDL's thread, which hides its errors, failed to write everything.

        An incomplete record is cut off, since VisualDL could not read the file with it.
        """
        complete = max((end for end, _ in read_records(self._records, self._checked)), default=self._checked)
        if complete == self._checked or complete < self._records.stat().st_size:
            os.truncate(self._records, complete)
            raise OSError(f"{self._records} cannot be written to")
        self._checked = complete

    def _rewind(self, rows: list[dict[str, Any]]) -> None:
        needed = {row["epoch"]: {self._tags[column] for column in self._measured(row)} for row in rows}
        self._complete = rewind(self._records, needed)
        self._checked = self._records.stat().st_size

    def _measured(self, row: dict[str, Any]) -> list[str]:
        return [column for column in self._tags if row.get(column) is not None]

    def add_config(self, settings: dict[str, Any]) -> None:
        """Add the configuration by dotted keys. (The page collapses white space, so YAML would be unreadable.)"""
        text = "  ".join(f"{key}={value}" for key, value in settings.items())
        self._attempt(lambda writer: writer.add_text("config", text, 0))

    def add_pictures(self, part: str, draw: Callable[[], "Mapping[str, Figure]"], epoch: int) -> None:
        """Draw a task's pictures of a part and add them as ``images/NAME_PART``."""

        def draw_and_add():
            for name, figure in draw().items():
                self.add_picture(f"{name}_{part}", figure, epoch)

        self._guard(draw_and_add)

    def add_report(self, part: str, report: Callable[[], Mapping[str, Any]], epoch: int) -> None:
        """Add the numbers of a task's report of a part as ``metrics/NAME_PART``."""

        def write(writer):
            for name, value in report().items():
                if isinstance(value, float):
                    writer.add_scalar(f"metrics/{name}_{part}", value, epoch)

        self._attempt(write)

    def add_picture(self, name: str, picture: "np.ndarray | Figure", step: int = 0) -> None:
        """Add a matplotlib figure, or an image uint8 [H, W, 3], as ``images/NAME``."""
        kind = "add_image" if isinstance(picture, np.ndarray) else "add_figure"
        self._attempt(lambda writer: getattr(writer, kind)(f"images/{name}", picture, step))

    def add_weights(self, network: paddle.nn.Layer, epoch: int) -> None:
        """Add a histogram of the weights of each convolution and fully connected layer."""

        def write(writer):
            for name, parameter in network.named_parameters():
                if parameter.ndim > 1:
                    writer.add_histogram(f"weights/{name}", parameter.numpy(), epoch, buckets=40)

        self._attempt(write)

    def add_hparams(self, hparams: dict[str, Any], metrics: dict[str, float], step: int) -> None:
        """Add hyperparameters and final metrics; lists and booleans become text, since VisualDL accepts only that."""
        plain = {k: v if type(v) in (int, float, str) else str(v) for k, v in hparams.items() if v is not None}

        def write(writer):
            writer.add_hparams(plain, list(metrics))
            for tag, value in metrics.items():
                writer.add_scalar(tag, float(value), step)

        self._attempt(write)

    def close(self) -> None:
        """Write what is pending."""
        if self._writer is not None:
            self._attempt(lambda writer: writer.close())
        self._writer = None

    def _attempt(self, write: Callable[[Any], None]) -> None:
        def open_and_write():
            if self._parent and not self._parent.is_dir():  # VisualDL would create it again
                raise FileNotFoundError(f"{self._parent} no longer exists")
            if self._writer is None:
                self._writer = _open(self.folder, self.name)
            write(self._writer)

        self._guard(open_and_write)

    def _guard(self, action: Callable[[], None]) -> None:
        if not self._alive:
            return
        try:
            action()
        except Exception as error:  # whatever fails here must not stop training
            self._alive = False
            logger.warning(
                "warning: VisualDL failed (%s); the run continues without it; when resumed, it adds what is missing",
                error,
            )


def _open(folder: Path, name: str):
    from visualdl import LogWriter  # slow: imports pandas and more

    with contextlib.redirect_stdout(io.StringIO()):  # it prints that it appends to a file
        return LogWriter(logdir=str(folder), file_name=RECORDS, display_name=name)


def rewind(records: Path, needed: Mapping[int, set[str]]) -> int:
    """Cut off the records that do not belong to the finished epochs of a resumed run.

    These are records of later epochs, which the run writes again; all after a missing epoch, as a full disk leaves it;
    and all after a damaged or incomplete record, as a killed process leaves it, since they cannot be read.

    Args:
        needed: the tags of the scalars of each finished epoch, from 1.

    Returns:
        The last epoch up to which all tags are there; 0 if there is none.
    """
    found = list(read_records(records))
    tags: dict[int, set[str]] = {}
    for _, record in found:
        for value in record.values:
            if value.WhichOneof("one_value") == "value":
                tags.setdefault(value.id, set()).add(value.tag)
    complete = 0
    while complete + 1 in needed and needed[complete + 1] <= tags.get(complete + 1, set()):
        complete += 1
    keep = 0
    for end, record in found:
        # Hyperparameters are written at the end of a run, and their step is always 1.
        if any(value.id > complete or value.WhichOneof("one_value") == "hparam" for value in record.values):
            break
        keep = end
    os.truncate(records, keep)
    return complete


def read_records(records: Path, start: int = 0) -> Iterator[tuple[int, Any]]:
    """Yield (end position, record) from position ``start`` to the first record that is incomplete or damaged."""
    from google.protobuf.message import DecodeError
    from visualdl.proto import record_pb2

    size, end = records.stat().st_size, start
    with open(records, "rb") as file:
        file.seek(start)
        while end + 8 <= size:
            (length,) = struct.unpack("<Q", file.read(8))  # VisualDL writes the length, then the record
            if end + 8 + length > size:
                return
            try:
                record = record_pb2.Record.FromString(file.read(length))
            except DecodeError:
                return
            end += 8 + length
            yield end, record
