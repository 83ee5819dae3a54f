"""``prepare(config)``: all that a run needs before its first step, for training and for planning alike."""

from dataclasses import dataclass
from pathlib import Path

import paddle

from ppcls_lite.config import Config
from ppcls_lite.data import Dataset, load_dataset
from ppcls_lite.device import select_device
from ppcls_lite.engine import parts
from ppcls_lite.engine.checkpoint import load_checkpoint
from ppcls_lite.engine.resume import find_resume_point
from ppcls_lite.engine.run_dir import Progress, RunDir, read_progress
from ppcls_lite.engine.seeding import seed_everything
from ppcls_lite.errors import UserError
from ppcls_lite.weights import load_pretrained


@dataclass(frozen=True)
class Prepared:
    """A run before its first step; ``checkpoint`` is the folder that it goes on from, or None."""

    dataset: Dataset
    loaders: parts.Loaders
    model: paddle.Model
    checkpoint: Path | None
    progress: Progress


def prepare(config: Config, run_dir: RunDir) -> Prepared:
    """Choose the device, read the data, build the network, load weights or checkpoint; nothing is written.

    Raises:
        UserError: the run folder is in use, or data, weights or checkpoint do not fit.
    """
    checkpoint = find_resume_point(config, run_dir)
    progress = read_progress(checkpoint) if checkpoint is not None else Progress()
    if progress.epoch > config.Global.epochs:
        raise UserError(f"{checkpoint} is past Global.epochs {config.Global.epochs}; ask for more epochs")
    select_device(config.Global.device)
    dataset = load_dataset(config.DataLoader.dataset, config.DataLoader.root)
    loaders = parts.build_loaders(config, dataset)
    seed_everything(config.Global.seed)
    network = parts.build_network(config)
    scaling = parts.loss_scaling(config)
    model = parts.build_trainer(config, network, len(loaders.train), scaling)
    if checkpoint is not None:
        load_checkpoint(model, checkpoint, scaling)
    elif config.Global.pretrained_model:
        load_pretrained(network, config.Global.pretrained_model)
    return Prepared(dataset, loaders, model, checkpoint, progress)
