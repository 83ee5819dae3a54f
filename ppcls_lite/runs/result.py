"""The facts of a run, and result.json."""

import logging
import platform
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import visualdl

from ppcls_lite.data import Dataset
from ppcls_lite.measure.complexity import count_macs, count_params
from ppcls_lite.runs.run_dir import Progress
from ppcls_lite.tasks.setup import Setup
from ppcls_lite.tasks.task import Task
from ppcls_lite.utils.device import describe_device
from ppcls_lite.utils.text import describe_official

logger = logging.getLogger(__name__)


def describe_run(
    setup: Setup, dataset: Dataset, images: dict[str, int], network: paddle.nn.Layer
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The facts that do not depend on training, as the first and the last part of result.json; they are also logged.

    Args:
        images: number of images by part.
    """
    config = setup.config
    subject = {
        "name": config.Global.name,
        "arch": config.Arch["name"],
        "alpha": config.Arch.get("alpha"),
        "seed": config.Global.seed,
        "dataset": dataset.spec.name,
        "dataset_sha256": dataset.sha256,
        "dataset_official": dataset.official,
        "train_images": images["train"],
        "test_images": images["test"],
        "target": {**({} if setup.column is None else {"column": setup.column}), **setup.task.describe()},
    }
    environment = {
        "params": count_params(network),
        "macs": count_macs(network, setup.input_size, setup.channels),
        "device": describe_device(),
        "versions": describe_versions(),
        "config_sha256": config.sha256(),
        "git_commit": describe_commit(),
    }
    counts = f"{environment['params']:,} parameters, {environment['macs']:,} multiply-adds"
    validation = f", {images['val']} validation" if "val" in images else ""
    parts = f"{images['train']} training{validation}, {images['test']} test images"
    origin = f"{dataset.source}{describe_official(dataset.official)}"
    logger.info("%s on %s; %s", config.Global.name, environment["device"], environment["versions"])
    logger.info("%s: %s%s", subject["arch"], counts, setup.at_size)
    logger.info("%s: %s from %s, sha256 %s", dataset.spec.name, parts, origin, dataset.sha256[:12])
    return subject, environment


def conclude(last: dict[str, Any], progress: Progress, task: Task, skipped: int) -> dict[str, Any]:
    """The outcome of a run, the middle part of result.json, from the last epoch's row with its test scores."""
    headline = task.headline
    averaged = [f"{part}_ema_{name}" for part in ("val", "test") for name in dict.fromkeys((headline.name, "loss"))]
    seconds = sum(row["seconds"] for row in progress.rows)
    images = sum(row["images_per_sec"] * row["seconds"] for row in progress.rows)
    return {
        "skipped_images": skipped,
        "epochs": progress.epoch,
        "task": task.name,
        "metric": headline.name,
        "score": last[f"test_{headline.name}"],
        "unit": headline.unit,
        "higher_is_better": headline.higher_is_better,
        **{f"test_{name}": last[f"test_{name}"] for name in (*(metric.name for metric in task.metrics), "loss")},
        **{column: last[column] for column in averaged if column in last},
        f"val_{headline.name}": last.get(f"val_{headline.name}"),
        f"best_val_{headline.name}": progress.best_val,
        "best_epoch": progress.best_epoch,
        "images_per_sec": images / seconds,
        "processes": progress.processes,
        "started": progress.started,
        "wall_s": progress.wall_s,
    }


def final_metrics(result: dict[str, Any]) -> dict[str, float]:
    """The metrics on VisualDL's page of hyperparameters."""
    names = (f"test_{result['metric']}", "test_loss", "images_per_sec", "wall_s")
    return {f"outcome/{name}": result[name] for name in names}


def hparams(setup: Setup) -> dict[str, Any]:
    """The settings on VisualDL's page of hyperparameters."""
    config = setup.config
    lr = config.Optimizer.lr
    return {
        "run": config.Global.name,
        "arch": config.Arch["name"],
        "seed": config.Global.seed,
        **{key: value for key, value in config.arch_options.items() if key != "num_classes"},
        "epochs": config.Global.epochs,
        "batch_size": config.DataLoader.batch_size,
        "image_size": setup.input_size,
        "optimizer": config.Optimizer.name,
        "schedule": lr.name,
        "learning_rate": lr.learning_rate,
        "weight_decay": config.Optimizer.weight_decay,
        "label_smoothing": config.Loss.label_smoothing,
    }


def describe_versions() -> str:
    """Versions of python, paddle, numpy and visualdl."""
    return (
        f"python {platform.python_version()}, paddle {paddle.__version__}, "
        f"numpy {np.__version__}, visualdl {visualdl.__version__}"
    )


def describe_commit() -> str:
    """The commit of this source tree, with ``-dirty`` if tracked files have changed, or ``unknown``."""
    git = ["git", "-C", str(Path(__file__).parent)]
    try:
        commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
        clean = subprocess.run([*git, "diff", "--quiet", "HEAD"], capture_output=True).returncode == 0
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return commit if clean else f"{commit}-dirty"
