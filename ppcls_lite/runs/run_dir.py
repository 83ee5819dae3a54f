"""The run directory: where the files of a run are, and writing them atomically."""

import contextlib
import dataclasses
import json
import logging
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ppcls_lite.config import files as config_files
from ppcls_lite.config.options import NonNegative, Positive, coerce
from ppcls_lite.tasks.task import Task
from ppcls_lite.utils.errors import UserError
from ppcls_lite.utils.files import TEMPORARY, digest, parse_json, replacing, user_path, write_csv, write_text
from ppcls_lite.utils.lock import FolderLock
from ppcls_lite.weights.load import SUFFIX

logger = logging.getLogger(__name__)

MOST_RECENT = 2  # checkpoints that are kept besides the best
# The files of a checkpoint folder, the last one in the format of sha256sum.
WEIGHTS, OPTIMIZER, SCALER, PROGRESS = "model.pdparams", "model.pdopt", "model.pdscaler", "state.json"
SUMS = "SHA256SUMS"
AVERAGE = "model_ema.pdparams"  # of a run with Global.ema_decay
METADATA = "metadata.json"
DAMAGED = ".damaged"  # suffix of damaged checkpoint folders
REQUIRED_FIELDS = ("score", "test_loss", "epochs", "params", "macs", "images_per_sec", "wall_s")  # of result.json
_CLASSIFICATION = {"task": "classification", "metric": "top1", "unit": "%", "higher_is_better": True}
_EPOCH = re.compile(r"epoch_(\d{4,})")
_COLUMN = re.compile(r"epoch|lr|(train|val|test)_\w+|images_per_sec|seconds")  # of metrics.csv


@dataclass
class Progress:
    """The finished epochs of a run: their number, rows of metrics.csv, the best one, and the time they took.

    ``processes`` is the number of processes in the last epoch. ``started`` is when the run first started (UTC), or None
    if an earlier version started it. ``row`` collects the measurements of the running epoch, and is not saved.
    """

    epoch: NonNegative = 0
    rows: list[dict[str, Any]] = field(default_factory=list)
    best_val: float | None = None
    best_epoch: Positive | None = None
    wall_s: float = 0.0
    processes: Positive = 1
    started: str | None = None
    row: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> str:
        """The text that :func:`read_progress` reads."""
        stored = {key: value for key, value in dataclasses.asdict(self).items() if key != "row"}
        return json.dumps(stored, indent=1) + "\n"

    def stops_early(self, patience: int | None) -> bool:
        """Whether the last epoch was scored, and the best one is at least ``patience`` epochs before it."""
        if patience is None or self.best_epoch is None or not self.rows:
            return False
        scored = any(column.startswith("val_") for column in self.rows[-1])
        return scored and self.epoch - self.best_epoch >= patience


class RunDir:
    """Paths and files of one run, see docs/run_directory.md."""

    def __init__(self, path: str | Path):
        self.path = user_path(path)
        self.checkpoints = self.path / "checkpoints"
        self.vdl = self.path / "vdl"
        self.log = self.path / "train.log"
        self.lock = FolderLock(self.path)

    def is_used(self) -> bool:
        """Whether the folder holds anything besides temporary files of interrupted writes."""
        if not self.path.is_dir():
            return self.path.exists()
        return any(not entry.name.endswith(TEMPORARY) for entry in self.path.iterdir())

    def in_use(self) -> str:
        """The message for a folder that is not empty."""
        return (
            f"Global.output_dir {self.path} is not empty; "
            f"-o Global.resume=auto continues a run, -o Global.output_dir=FOLDER starts one elsewhere"
        )

    def create(self) -> None:
        """Create the folder and lock it.

        Raises:
            UserError: it cannot be written to, or another process uses it or has used it meanwhile.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            (self.path / f".probe{TEMPORARY}").touch()
            (self.path / f".probe{TEMPORARY}").unlink()
        except OSError as error:
            raise UserError(f"Global.output_dir {self.path} cannot be written to: {error.strerror}") from None
        if self.lock.acquire() and self.is_used():  # it was empty before
            raise UserError(self.in_use())

    def result(self) -> dict[str, Any] | None:
        """The contents of result.json, or None if the run is not finished."""
        try:
            result = parse_json((self.path / "result.json").read_text())
        except (OSError, ValueError):
            return None
        if not isinstance(result, dict):
            return None
        if "metric" not in result and "test_top1" in result:  # from a version that had classification only
            result = {**result, **_CLASSIFICATION, "score": result["test_top1"]}
        complete = all(_is_number(result.get(key)) for key in REQUIRED_FIELDS)
        complete = complete and all(isinstance(result.get(key), type(value)) for key, value in _CLASSIFICATION.items())
        return result if complete else None

    def config(self) -> dict[str, Any] | None:
        """The configuration that the run was started with, or None if it is unreadable."""
        try:
            config = config_files.parse_yaml((self.path / "config.yaml").read_text(), "config.yaml")
        except (OSError, ValueError):
            return None
        return config if isinstance(config, dict) else None

    def origin(self) -> Path | None:
        """The place in another run where this one started (``Global.checkpoints``), or None."""
        run = (self.config() or {}).get("Global")
        place = run.get("checkpoints") if isinstance(run, dict) else None
        return Path(place) if isinstance(place, str) else None

    def write_config(self, text: str) -> None:
        """Write config.yaml, and create the folder of the checkpoints."""
        write_text(self.path / "config.yaml", text)
        self.checkpoints.mkdir(exist_ok=True)

    def write_result(self, result: dict[str, Any]) -> None:
        """Write result.json, which marks the run as finished; a row of a table is a line."""
        lines = []
        for key, value in result.items():
            text = json.dumps(value, indent=2).replace("\n", "\n  ")
            if isinstance(value, list):
                text = "[\n    " + ",\n    ".join(map(json.dumps, value)) + "\n  ]"
            lines.append(f"  {json.dumps(key)}: {text}")
        write_text(self.path / "result.json", "{\n" + ",\n".join(lines) + "\n}\n")

    def write_classes(self, name: str, rows: list[dict[str, Any]]) -> None:
        """Write NAME.csv, the scores by class of a run with many classes."""
        write_csv(self.path / f"{name}.csv", list(rows[0]), rows)

    def write_metadata(self, metadata: dict[str, Any]) -> None:
        """Write metadata.json: the input and the output of the network."""
        write_text(self.path / METADATA, json.dumps(metadata, indent=1) + "\n")

    def write_metrics(self, rows: list[dict[str, Any]], task: Task) -> None:
        """Write metrics.csv with one row an epoch and the task's metrics; missing values stay empty."""
        scores = tuple(dict.fromkeys(("loss", *(metric.name for metric in task.metrics))))
        measured = [f"{part}_{score}" for part in ("train", "val", "test") for score in scores]
        averaged = [f"{part}_ema_{score}" for part in ("val", "test") for score in scores]
        measured += [column for column in averaged if any(column in row for row in rows)]
        write_csv(self.path / "metrics.csv", ["epoch", "lr", *measured, "images_per_sec", "seconds"], rows)

    def weights(self, which: str) -> Path:
        """``last.pdparams``, ``best.pdparams`` or ``last_ema.pdparams``."""
        return self.path / f"{which}{SUFFIX}"

    def checkpoint(self, epoch: int) -> Path:
        """The checkpoint folder of an epoch."""
        return self.checkpoints / f"epoch_{epoch:04d}"

    def adopt(self, checkpoint: Path, progress: Progress) -> None:
        """Copy another run's checkpoint and its best one into this run, so that it can resume by itself."""
        target, best = self.checkpoint(progress.epoch), self.checkpoint(progress.best_epoch or 0)
        for source, copy in ((checkpoint, target), (checkpoint.with_name(best.name), best)):
            if source.is_dir() and not copy.exists():
                with replacing(copy) as temporary:
                    temporary.mkdir()
                    for name in (WEIGHTS, OPTIMIZER, SCALER, AVERAGE, PROGRESS, SUMS):
                        if (source / name).is_file():
                            shutil.copyfile(source / name, temporary / name)

    def list_checkpoints(self) -> list[Path]:
        """Complete checkpoint folders, oldest first."""
        found = self.checkpoints.iterdir() if self.checkpoints.is_dir() else ()
        return sorted((folder for folder in found if _EPOCH.fullmatch(folder.name)), key=_number)

    def set_aside(self, after: int) -> None:
        """Rename the damaged checkpoints, those of epochs later than ``after``, which the run trains again."""
        for folder in self.list_checkpoints():
            if _number(folder) > after:
                renamed = folder.with_name(folder.name + DAMAGED)
                if renamed.exists():
                    shutil.rmtree(renamed)
                folder.rename(renamed)
                logger.warning("%s is kept as %s", folder, renamed.name)

    def prune(self) -> None:
        """Delete all checkpoints but the two newest and the best at each of these."""
        folders = self.list_checkpoints()
        newest = folders[-MOST_RECENT:]
        keep = set(newest)
        for folder in newest:
            with contextlib.suppress(UserError):  # damaged, which is reported when the run resumes
                keep.add(self.checkpoint(read_progress(folder).best_epoch or 0))
        for folder in folders:
            if folder not in keep:
                shutil.rmtree(folder)


def _number(folder: Path) -> int:
    return int(_EPOCH.fullmatch(folder.name)[1])


def verify_checkpoint(folder: Path) -> None:
    """Compare a checkpoint's files with their checksums.

    Raises:
        UserError: a file is missing or damaged; the message names it.
    """
    try:
        lines = (folder / SUMS).read_text(encoding="ascii").splitlines()
        matches = [re.fullmatch(r"([0-9a-f]{64})  ([\w.]+)", line) for line in lines]
        sums = {match[2]: match[1] for match in matches if match}
        if len(sums) != len(lines) or not {WEIGHTS, OPTIMIZER, PROGRESS} <= set(sums):
            raise UserError(f"{folder / SUMS} is damaged")
        for name, expected in sums.items():
            if digest(folder / name) != expected:
                raise UserError(f"{folder / name} is damaged: its checksum is not that in {SUMS}")
    except UnicodeDecodeError:
        raise UserError(f"{folder / SUMS} is damaged") from None
    except OSError as error:
        raise UserError(f"{error.filename} cannot be read: {error.strerror}") from None


def read_progress(checkpoint: Path) -> Progress:
    """Read the progress in a checkpoint folder.

    Raises:
        UserError: it is damaged.
    """
    try:
        stored = parse_json((checkpoint / PROGRESS).read_text())
        if "best_val_top1" in stored:  # from a version that had classification only
            stored["best_val"] = stored.pop("best_val_top1")
        progress = Progress(**stored)
        for one in dataclasses.fields(Progress):
            if one.name not in ("rows", "row"):
                coerce(getattr(progress, one.name), one.type, one.name)
        _check_rows(progress)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(f"{checkpoint / PROGRESS} is damaged ({error}); remove that checkpoint folder") from None
    return progress


def _check_rows(progress: Progress) -> None:
    rows = progress.rows
    if not rows or len(rows) != progress.epoch or [row["epoch"] for row in rows] != list(range(1, len(rows) + 1)):
        raise ValueError("its rows are not one for each epoch")
    for row in rows:
        if not {"lr", "train_loss", "images_per_sec", "seconds"} <= set(row) or not all(map(_COLUMN.fullmatch, row)):
            raise ValueError("its rows have other columns than metrics.csv")
        if not all(map(_is_number, row.values())):
            raise ValueError("its rows have values that are not numbers")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 2**63
