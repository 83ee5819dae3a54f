"""What a run says of itself: the facts that training does not change, and the outcome in result.json."""

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

_FACTS = "name arch alpha seed dataset dataset_sha256 dataset_official train_images test_images target"


def describe_run(setup: Setup, dataset: Dataset, images: dict[str, int], network: paddle.nn.Layer) -> dict[str, Any]:
    """The facts of a run that training does not change, logged and for result.json; ``images`` counts them by part."""
    config, size = setup.config, setup.input_size
    facts = {
        "name": config.Global.name,
        "arch": config.Arch["name"],
        "alpha": config.Arch.get("alpha"),
        "seed": config.Global.seed,
        "dataset": dataset.spec.name,
        "dataset_sha256": dataset.sha256,
        "dataset_official": dataset.official,
        "train_images": images["train"],
        "test_images": images["test"],
        "target": {"column": setup.column, **setup.task.describe()},
        "params": count_params(network),
        "macs": count_macs(network, size, setup.channels),
        "device": describe_device(),
        "versions": describe_versions(),
        "config_sha256": config.sha256(),
        "git_commit": describe_commit(),
    }
    validation = f", {images['val']} validation" if "val" in images else ""
    logger.info("%s on %s; %s", config.Global.name, facts["device"], facts["versions"])
    logger.info(
        "%s: %s parameters, %s multiply-adds at %d px",
        facts["arch"],
        f"{facts['params']:,}",
        f"{facts['macs']:,}",
        size,
    )
    logger.info(
        "%s: %d training%s, %d test images from %s%s, sha256 %s",
        dataset.spec.name,
        images["train"],
        validation,
        images["test"],
        dataset.source,
        describe_official(dataset.official),
        facts["dataset_sha256"][:12],
    )
    return facts


def conclude(
    facts: dict[str, Any], last: dict[str, Any], progress: Progress, task: Task, skipped: int
) -> dict[str, Any]:
    """What result.json holds, from the facts and the last epoch's row with its test scores."""
    headline = task.headline
    seconds = sum(row["seconds"] for row in progress.rows)
    images = sum(row["images_per_sec"] * row["seconds"] for row in progress.rows)
    outcome = {
        "skipped_images": skipped,
        "epochs": progress.epoch,
        "task": task.name,
        "metric": headline.name,
        "score": last[f"test_{headline.name}"],
        "unit": headline.unit,
        "higher_is_better": headline.higher_is_better,
        **{f"test_{name}": last[f"test_{name}"] for name in (*(metric.name for metric in task.metrics), "loss")},
        f"val_{headline.name}": last.get(f"val_{headline.name}"),
        f"best_val_{headline.name}": progress.best_val,
        "best_epoch": progress.best_epoch,
        "images_per_sec": images / seconds,
        "processes": progress.processes,
        "started": progress.started,
        "wall_s": progress.wall_s,
    }
    which, what = _FACTS.split(), {key: value for key, value in facts.items() if key not in _FACTS.split()}
    return {key: facts[key] for key in which} | outcome | what


def final_metrics(result: dict[str, Any]) -> dict[str, float]:
    names = (f"test_{result['metric']}", "test_loss", "images_per_sec", "wall_s")
    return {f"outcome/{name}": result[name] for name in names}


def hparams(setup: Setup) -> dict[str, Any]:
    """The settings that tell runs apart, flat."""
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
    """The commit of this source tree, ``-dirty`` where tracked files differ from it, or ``unknown``."""
    git = ["git", "-C", str(Path(__file__).parent)]
    try:
        commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
        clean = subprocess.run([*git, "diff", "--quiet", "HEAD"], capture_output=True).returncode == 0
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return commit if clean else f"{commit}-dirty"
