"""``prepare(setup)``: all that a run needs before its first step, for training and for planning alike."""

import datetime
import logging
from dataclasses import dataclass
from pathlib import Path

import paddle

from ppcls_lite.config.schema import Config
from ppcls_lite.data import BatchLoader, Dataset
from ppcls_lite.engine import build
from ppcls_lite.engine.build import seed_everything
from ppcls_lite.runs.checkpoint import load_checkpoint
from ppcls_lite.runs.resume import find_resume_point
from ppcls_lite.runs.run_dir import Progress, RunDir, read_progress
from ppcls_lite.tasks.network import build_network
from ppcls_lite.tasks.setup import Setup
from ppcls_lite.utils import processes
from ppcls_lite.utils.device import select_device
from ppcls_lite.utils.errors import UserError
from ppcls_lite.weights.load import load_pretrained

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Prepared:
    """A run before its first step.

    ``checkpoint`` is the folder that it goes on from, or None; ``origin`` what ``Global.checkpoints`` names of another
    run, now or when the run began.
    """

    dataset: Dataset
    loaders: build.Loaders
    model: paddle.Model
    checkpoint: Path | None
    origin: Path | None
    progress: Progress


def open_device(config: Config) -> None:
    """Choose this process's device, and connect it with the run's other processes, of which the first one talks.

    Raises:
        UserError: a GPU is asked for and cannot be had.
    """
    if processes.rank() != 0:
        logging.getLogger("ppcls_lite").setLevel(logging.ERROR)
    processes.connect(select_device(config.Global.device))


def prepare(setup: Setup, run_dir: RunDir) -> Prepared:
    """Read the data, build the network, load weights or checkpoint; nothing is written.

    Process 0 decides where to go on from, and downloads; then all read the same files.

    Raises:
        UserError: the run folder is in use, or data, weights or checkpoint do not fit.
    """
    config, task = setup.config, setup.task
    checkpoint, origin, progress = processes.on_rank0(lambda: _find_start(config, run_dir))
    if processes.count_processes() > 1:
        processes.on_rank0(setup.source.fetch)
    dataset = processes.raise_everywhere(lambda: setup.source.load(setup.reading))
    loaders = processes.raise_everywhere(lambda: build.build_loaders(setup, dataset))
    task.fit(loaders.train.split.targets[setup.column])
    seed_everything(config.Global.seed)
    network = build.share_batch_norm(build_network(setup), config.Global.sync_batch_norm)
    scaling = build.loss_scaling(config)
    model = build.build_trainer(config, network, task, loaders.train, scaling)
    if checkpoint is not None:
        _announce_other_processes(progress, loaders.train)
        steps = progress.epoch * len(loaders.train)
        processes.raise_everywhere(lambda: load_checkpoint(model, checkpoint, scaling, steps))
    elif config.Global.pretrained_model:
        processes.raise_everywhere(lambda: load_pretrained(network, config.Global.pretrained_model))
    progress.processes = processes.count_processes()
    return Prepared(dataset, loaders, model, checkpoint, origin, progress)


def _find_start(config: Config, run_dir: RunDir) -> tuple[Path | None, Path | None, Progress]:
    checkpoint, origin = find_resume_point(config, run_dir)
    now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    progress = read_progress(checkpoint) if checkpoint is not None else Progress(started=now)
    if progress.epoch > config.Global.epochs:
        raise UserError(f"{checkpoint} is past Global.epochs {config.Global.epochs}; ask for more epochs")
    return checkpoint, origin, progress


def _announce_other_processes(progress: Progress, loader: BatchLoader) -> None:
    was, now = progress.processes, loader.world_size
    if was != now:
        logger.warning(
            "warning: the run goes on with %s instead of %d: %d images a step instead of %d, %d steps an epoch",
            f"{now} process{'es' if now > 1 else ''}",
            was,
            loader.batch_size * now,
            loader.batch_size * was,
            len(loader),
        )
