"""``prepare(setup)``: all that a run needs before its first step, for training and for planning."""

import contextlib
import dataclasses
import datetime
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import paddle

from ppcls_lite.arch.base import freeze_backbone
from ppcls_lite.arch.mlp import find_table_branch
from ppcls_lite.config.schema import AMP, Config
from ppcls_lite.data import Dataset
from ppcls_lite.data.transforms import IMAGENET_MEAN, IMAGENET_STD, Normalization
from ppcls_lite.data.workers import WORKER_KILLED
from ppcls_lite.engine import build
from ppcls_lite.runs.average import WeightAverage
from ppcls_lite.runs.checkpoint import load_checkpoint
from ppcls_lite.runs.resume import find_resume_point
from ppcls_lite.runs.run_dir import METADATA, Progress, RunDir, read_progress
from ppcls_lite.runs.trained import run_folders
from ppcls_lite.tasks.metadata import Metadata
from ppcls_lite.tasks.network import build_network
from ppcls_lite.tasks.setup import Setup
from ppcls_lite.utils import processes
from ppcls_lite.utils.device import on_gpu, select_device
from ppcls_lite.utils.errors import TrainingError, UserError
from ppcls_lite.weights import published
from ppcls_lite.weights.load import find_weights, load_initial

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Prepared:
    """A run before its first step.

    ``checkpoint`` is the folder that it resumes from, or None. ``origin`` is what ``Global.checkpoints`` names of
    another run, now or when the run first started. ``average`` is that of the weights with ``Global.ema_decay``.
    ``fresh`` names the parameters that the weights of ``Global.pretrained_model`` do not fit.
    """

    dataset: Dataset
    loaders: build.Loaders
    model: paddle.Model
    checkpoint: Path | None
    origin: Path | None
    progress: Progress
    average: WeightAverage | None
    fresh: tuple[str, ...] = ()


def open_device(config: Config) -> None:
    """Select this process's device and connect it with the run's other processes; only process 0 logs.

    Raises:
        UserError: a GPU is requested and not available.
    """
    if processes.rank() != 0:
        logging.getLogger("ppcls_lite").setLevel(logging.ERROR)
    processes.connect(select_device(config.Global.device))


@contextlib.contextmanager
def explain_lost_processes(what_to_do: Callable[[], str] = lambda: "start it again"):
    """Turn the errors that paddle raises when another process was killed into one sentence.

    For a loading worker paddle raises a SystemError from a signal handler, wherever the main process is.

    Raises:
        TrainingError: a loading worker was killed, or another process of the run ended.
    """
    try:
        yield
    except (SystemError, RuntimeError) as error:
        if str(error) == WORKER_KILLED or (isinstance(error, SystemError) and "DataLoader" in str(error)):
            raise TrainingError(f"{WORKER_KILLED}; then {what_to_do()}") from None
        if isinstance(error, SystemError | TrainingError) or processes.count_processes() == 1:
            raise
        reason = str(error).strip().splitlines()[-1]
        raise TrainingError(
            f"another process has ended or is unreachable ({reason}); read its log/workerlog.N, then {what_to_do()}"
        ) from None


def prepare(setup: Setup, run_dir: RunDir) -> Prepared:
    """Read the data, build the network, load weights or a checkpoint; nothing is written.

    Process 0 chooses the checkpoint and downloads; then all processes read the same files.

    Raises:
        UserError: the run folder is in use, or data, weights or checkpoint do not fit.
    """
    config, task = setup.config, setup.task
    checkpoint, origin, progress = processes.on_rank0(lambda: _find_start(config, run_dir))
    if processes.count_processes() > 1:
        processes.on_rank0(setup.source.fetch)
    dataset = processes.raise_everywhere(lambda: setup.source.load(setup.reading))
    dataset = dataclasses.replace(dataset, sha256=processes.on_rank0(lambda: dataset.sha256))
    loaders = processes.raise_everywhere(lambda: build.build_loaders(setup, dataset))
    if config.Global.early_stop_patience and loaders.val is None:
        raise UserError(
            "Global.early_stop_patience needs validation images; set DataLoader.val_fraction, such as 0.1, or remove it"
        )
    task.fit(loaders.train.target)
    build.seed_everything(config.Global.seed)
    network, is_frozen = build_network(setup), config.Optimizer.backbone_lr_factor == 0
    branch = find_table_branch(network)
    if branch is not None:
        branch.fit(*setup.spec.fields.statistics(loaders.train.split.table))
    if is_frozen:
        freeze_backbone(network)
    network = build.share_batch_norm(network, config.Global.sync_batch_norm and not is_frozen)
    if config.Global.to_static:
        build.compile_forward(network, setup)
    amp = config.AMP
    if amp.use_amp and on_gpu() and (amp.level, amp.dtype) != (AMP.level, AMP.dtype):  # paddle.Model does the default
        processes.raise_everywhere(lambda: build.cast_forward(network, amp))
    scaling = build.loss_scaling(config)
    model = build.build_trainer(setup, network, loaders.train, scaling)
    average = WeightAverage(network, config.Global.ema_decay) if config.Global.ema_decay else None
    now, fresh = processes.count_processes(), []
    if checkpoint is not None:
        updates = progress.epoch * loaders.train.updates
        steps, batch_size, before = len(loaders.train), loaders.train.batch_size, progress.processes
        if before != now:
            logger.warning(
                "warning: the run continues with %s instead of %d: %d images a step instead of %d, %d steps an epoch",
                "1 process" if now == 1 else f"{now} processes",
                before,
                batch_size * now,
                batch_size * before,
                steps,
            )
        processes.raise_everywhere(lambda: load_checkpoint(model, checkpoint, scaling, updates, average))
    elif config.Global.pretrained_model:
        weights = processes.on_rank0(lambda: find_weights(config.Global.pretrained_model, config.Arch["name"]))
        fresh = processes.raise_everywhere(lambda: load_initial(network, weights))
        if average is not None:
            average.reset()
    progress.processes = now
    return Prepared(dataset, loaders, model, checkpoint, origin, progress, average, tuple(fresh))


def log_initial_weights(setup: Setup, prepared: Prepared) -> None:
    """Log what a new run starts from, with warnings if its weights were trained otherwise or its backbone never is."""
    config = setup.config
    if prepared.checkpoint is not None:
        return
    if not config.Global.pretrained_model:
        if config.Optimizer.backbone_lr_factor == 0:
            logger.warning(
                "warning: Optimizer.backbone_lr_factor is 0, which freezes a backbone of random weights; "
                "set Global.pretrained_model"
            )
        return
    weights = find_weights(config.Global.pretrained_model, config.Arch["name"])
    logger.info("weights from %s", weights)
    if prepared.fresh:
        more = f" and {len(prepared.fresh) - 4} more" if len(prepared.fresh) > 4 else ""
        names = ", ".join(prepared.fresh[:4]) + more
        logger.info("%s start fresh, since the head of these weights has another size", names)
    metadata = next((folder / METADATA for folder in run_folders(weights) if (folder / METADATA).is_file()), None)
    try:
        if config.Global.pretrained_model == published.NAME:
            known = Normalization(IMAGENET_MEAN, IMAGENET_STD)
        elif metadata is not None:
            known = Metadata.from_json(metadata.read_text(encoding="utf-8", errors="replace"), metadata)
        else:
            return
    except UserError as error:
        logger.warning("warning: %s; whether these weights need another mean and std is unknown", error)
        return
    before, now = (list(one.mean) + list(one.std) for one in (known, setup.normalization))
    if not np.allclose(before, now, rtol=0, atol=1e-3):
        logger.warning(
            "warning: %s was trained with mean %s and std %s, but this run has mean %s and std %s; "
            "set DataLoader.mean and DataLoader.std to the former",
            weights,
            *(_round(values) for one in (known, setup.normalization) for values in (one.mean, one.std)),
        )


def _round(values: Iterable[float]) -> list[float]:
    return [round(value, 4) for value in values]


def _find_start(config: Config, run_dir: RunDir) -> tuple[Path | None, Path | None, Progress]:
    """The checkpoint to resume from, the place in another run that this one started from, and the progress."""
    checkpoint, origin = find_resume_point(config, run_dir)
    now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    progress = read_progress(checkpoint) if checkpoint is not None else Progress(started=now)
    if progress.epoch > config.Global.epochs:
        raise UserError(f"{checkpoint} is past Global.epochs {config.Global.epochs}; set Global.epochs higher")
    return checkpoint, origin, progress
