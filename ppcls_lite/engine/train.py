"""``train(config)``: one run, from its configuration to result.json."""

import contextlib
import dataclasses
import logging
import platform
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import visualdl
from tqdm.contrib.logging import logging_redirect_tqdm

from ppcls_lite.config import Config
from ppcls_lite.data import Dataset, load_dataset
from ppcls_lite.engine import callbacks, parts
from ppcls_lite.engine.checkpoint import load_checkpoint, publish_weights
from ppcls_lite.engine.dashboard import Dashboard
from ppcls_lite.engine.device import describe_device, select_device
from ppcls_lite.engine.evaluate import Scores, evaluate
from ppcls_lite.engine.run_dir import Progress, RunDir, find_checkpoint, read_progress
from ppcls_lite.engine.seeding import seed_everything
from ppcls_lite.errors import UserError
from ppcls_lite.measure.complexity import count_macs, count_params
from ppcls_lite.weights import load_pretrained

logger = logging.getLogger(__name__)


def train(config: Config) -> dict[str, Any]:
    """Train, score and write down one run; see docs/run_directory.md for what lies in its folder afterwards.

    Returns:
        What result.json holds. A finished run that is resumed is not repeated.

    Raises:
        UserError: the run folder is in use, or data, weights or checkpoint do not fit.
        TrainingError: the loss is no number any more.
    """
    run_dir = RunDir(config.Global.output_dir)
    checkpoint = find_resume_point(config, run_dir)
    if config.Global.resume and (result := run_dir.result()):
        logger.info("%s is finished: test top-1 %.4f", run_dir.path, result["test_top1"])
        return result

    select_device(config.Global.device)
    dataset = load_dataset(config.DataLoader.dataset, config.DataLoader.root)
    loaders = parts.build_loaders(config, dataset)
    # Parameters are named by a counter, and optimizer states by parameters: a fresh count makes resuming possible in
    # any process.
    with paddle.utils.unique_name.guard():
        seed_everything(config.Global.seed)
        network = parts.build_network(config)
        scaling = parts.loss_scaling(config)
        model = parts.build_trainer(config, network, len(loaders.train), scaling)
        progress = Progress()
        if checkpoint is not None:
            progress = read_progress(checkpoint)
            load_checkpoint(model, checkpoint, scaling)
        elif config.Global.pretrained_model:
            load_pretrained(network, config.Global.pretrained_model)
        # Only now is there something to write: a mistake above leaves no folder behind.
        if paddle.distributed.get_rank() == 0:
            _open_run_dir(config, run_dir, checkpoint, progress)
        with _log_to(run_dir.log):
            facts = _describe(config, network, dataset, loaders)
            if checkpoint is not None:
                logger.info("resumed from %s after %d of %d epochs", checkpoint, progress.epoch, config.Global.epochs)
            elif config.Global.pretrained_model:
                logger.info("weights from %s", config.Global.pretrained_model)
            return _run(config, run_dir, facts, loaders, model, progress)


def _open_run_dir(config: Config, run_dir: RunDir, checkpoint: Path | None, progress: Progress) -> None:
    """Make the folder, or bring it to the state of the checkpoint it goes on from."""
    run_dir.create()
    kept = dataclasses.replace(config.Global, checkpoints=None, resume=None)
    run_dir.write_config(dataclasses.replace(config, Global=kept).to_yaml())
    run_dir.write_metrics(progress.rows)
    if checkpoint is not None:
        publish_weights(run_dir, progress)


@contextlib.contextmanager
def _log_to(path: Path):
    """Have the project's log lines written to ``path``, too."""
    project = logging.getLogger("ppcls_lite")
    project.setLevel(logging.INFO)
    handler = logging.FileHandler(path)
    project.addHandler(handler)
    try:
        yield
    finally:
        project.removeHandler(handler)
        handler.close()


def _run(
    config: Config,
    run_dir: RunDir,
    facts: dict[str, Any],
    loaders: parts.Loaders,
    model: paddle.Model,
    progress: Progress,
) -> dict[str, Any]:
    dashboard = None
    if config.Global.use_visualdl and paddle.distributed.get_rank() == 0:
        dashboard = Dashboard(run_dir.vdl)
        logger.info("dashboard: visualdl --logdir %s", run_dir.vdl)
        dashboard.add_config(config.to_yaml())
    try:
        _fit(config, run_dir, loaders, model, progress, dashboard)
        result = _conclude(config, facts, loaders, model, progress)
        if dashboard is not None:
            dashboard.add_hparams(_hparams(config), _final_metrics(result), progress.epoch)
    finally:
        if dashboard is not None:
            dashboard.close()
    if paddle.distributed.get_rank() == 0:
        run_dir.write_result(result)
    logger.info("test top-1 %.4f, loss %.4f", result["test_top1"], result["test_loss"])
    return result


def _fit(
    config: Config,
    run_dir: RunDir,
    loaders: parts.Loaders,
    model: paddle.Model,
    progress: Progress,
    dashboard: Dashboard | None,
) -> None:
    run, steps = config.Global, len(loaders.train)
    if progress.epoch >= run.epochs:
        return
    part, scored = ("val", loaders.val) if loaders.val is not None else ("test", loaders.test)
    try:
        with logging_redirect_tqdm([logging.getLogger("ppcls_lite")]):  # log lines stand above the progress bar
            model.fit(
                loaders.train,
                epochs=run.epochs - progress.epoch,
                verbose=0,
                callbacks=[
                    callbacks.EpochStart(loaders.train, run.seed, progress),
                    callbacks.TrainMeter(progress),
                    callbacks.ProgressBar(progress, run.epochs, steps),
                    callbacks.Evaluator(part, scored, run.eval_interval, run.epochs, progress),
                    callbacks.EpochEnd(run_dir, dashboard, run.epochs, run.save_interval, progress),
                ],
            )
    except (KeyboardInterrupt, SystemExit):
        logger.info(
            "stopped in epoch %d; continue with: python tools/train.py -c %s -o Global.resume=auto",
            progress.epoch + 1,
            run_dir.path / "config.yaml",
        )
        raise


def find_resume_point(config: Config, run_dir: RunDir) -> Path | None:
    """The checkpoint folder to go on from, or None for a fresh start.

    Raises:
        UserError: the run folder is in use and not to be resumed, or belongs to another configuration.
    """
    run = config.Global
    if run.checkpoints:
        checkpoint = find_checkpoint(run.checkpoints)
        if run_dir.is_used() and run_dir.path.resolve() not in checkpoint.resolve().parents:
            raise UserError(_in_use(run_dir))
        return checkpoint
    if not run_dir.is_used():
        return None
    theirs = run_dir.config()
    if run.resume is None or theirs is None:
        raise UserError(_in_use(run_dir))
    changed = _differences(theirs, config.outcome_dict())
    if changed:
        raise UserError(
            f"{run_dir.path} was made with other settings ({', '.join(changed)}); "
            f"restore them, or choose another Global.output_dir"
        )
    checkpoints = run_dir.list_checkpoints()
    return checkpoints[-1] if checkpoints else None


def _in_use(run_dir: RunDir) -> str:
    return (
        f"Global.output_dir {run_dir.path} is not empty; "
        f"-o Global.resume=auto continues a run, -o Global.output_dir=FOLDER starts one elsewhere"
    )


def _differences(theirs: Any, ours: Any, key: str = "") -> list[str]:
    """Settings of ``ours`` that ``theirs`` has otherwise, as ``key was X, is Y``."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        found = [_differences(theirs.get(k), v, f"{key}.{k}" if key else k) for k, v in ours.items()]
        return [item for items in found for item in items]
    return [] if theirs == ours else [f"{key} was {theirs}, is {ours}"]


def _describe(config: Config, network, dataset: Dataset, loaders: parts.Loaders) -> dict[str, Any]:
    """The facts of a run that training does not change, logged and for result.json."""
    size = parts.input_size(config)
    facts = {
        "name": config.Global.name,
        "arch": config.Arch["name"],
        "alpha": config.Arch.get("alpha"),
        "seed": config.Global.seed,
        "dataset": dataset.info.name,
        "dataset_sha256": dataset.sha256(),
        "dataset_official": dataset.official,
        "params": count_params(network),
        "macs": count_macs(network, size, dataset.info.channels),
        "device": describe_device(),
        "versions": describe_versions(),
        "config_sha256": config.sha256(),
        "git_commit": describe_commit(),
    }
    validation = f", {len(loaders.val.split)} validation" if loaders.val is not None else ""
    logger.info("%s on %s; %s", config.Global.name, facts["device"], facts["versions"])
    logger.info(
        "%s: %s parameters, %s multiply-adds at %d px",
        facts["arch"],
        f"{facts['params']:,}",
        f"{facts['macs']:,}",
        size,
    )
    logger.info(
        "%s: %d training%s, %d test images from %s (%s), sha256 %s",
        dataset.info.name,
        len(loaders.train.split),
        validation,
        len(loaders.test.split),
        dataset.source,
        "official" if dataset.official else "not the official files",
        facts["dataset_sha256"][:12],
    )
    return facts


def _conclude(
    config: Config, facts: dict[str, Any], loaders: parts.Loaders, model: paddle.Model, progress: Progress
) -> dict[str, Any]:
    last = progress.rows[-1]
    if "test_top1" in last:
        test = Scores(last["test_loss"], last["test_top1"], last["test_top5"], len(loaders.test.split), 0.0)
    else:
        test = evaluate(model.network, loaders.test)
    seconds = sum(row["seconds"] for row in progress.rows)
    images = sum(row["images_per_sec"] * row["seconds"] for row in progress.rows)
    outcome = {
        "epochs": progress.epoch,
        "test_images": len(loaders.test.split),
        "test_top1": test.top1,
        "test_loss": test.loss,
        "val_top1": last.get("val_top1"),
        "best_val_top1": progress.best_val_top1,
        "best_epoch": progress.best_epoch,
        "images_per_sec": images / seconds,
        "wall_s": progress.wall_s,
    }
    merged = {**facts, **outcome}
    order = (
        "name arch alpha seed dataset dataset_sha256 dataset_official epochs test_images test_top1 test_loss val_top1 "
        "best_val_top1 best_epoch params macs images_per_sec wall_s device versions config_sha256 git_commit"
    )
    return {key: merged[key] for key in order.split()}


def _final_metrics(result: dict[str, Any]) -> dict[str, float]:
    names = ("test_top1", "test_loss", "images_per_sec", "wall_s")
    return {f"final/{name}": result[name] for name in names}


def _hparams(config: Config) -> dict[str, Any]:
    """The settings that tell runs apart, flat."""
    lr = config.Optimizer.lr
    return {
        "run": config.Global.name,
        "arch": config.Arch["name"],
        "seed": config.Global.seed,
        **{key: value for key, value in config.arch_options.items() if key != "num_classes"},
        "epochs": config.Global.epochs,
        "batch_size": config.DataLoader.batch_size,
        "image_size": parts.input_size(config),
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
