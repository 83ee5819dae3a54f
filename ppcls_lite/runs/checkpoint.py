"""Checkpoints of a ``paddle.Model``: weights, optimizer with schedule, loss scaler, progress, and their checksums.

Random states are not stored: every epoch seeds them again (``engine.build.seed_everything``).
"""

import hashlib
import io
import logging
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import paddle

from ppcls_lite.runs.average import WeightAverage
from ppcls_lite.runs.run_dir import (
    AVERAGE,
    OPTIMIZER,
    PROGRESS,
    SCALER,
    SUMS,
    WEIGHTS,
    Progress,
    RunDir,
    verify_checkpoint,
)
from ppcls_lite.utils.errors import UserError
from ppcls_lite.utils.files import replacing
from ppcls_lite.weights.load import load_pretrained, read_state

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Snapshot:
    """A run after an epoch, in memory: the files of its checkpoint folder, by name."""

    epoch: int
    best_epoch: int | None
    files: Mapping[str, bytes | memoryview]


def take_snapshot(model: paddle.Model, progress: Progress, average: WeightAverage | None = None) -> Snapshot:
    """The current state of ``model``, and of the average of its weights."""
    states = {WEIGHTS: model.network.state_dict(), OPTIMIZER: model._optimizer.state_dict()}
    scaler = getattr(model, "_scaler", None)
    if scaler is not None:
        states[SCALER] = scaler.state_dict()
    if average is not None:
        states[AVERAGE] = average.values
    files: dict[str, bytes | memoryview] = {name: _serialize(state) for name, state in states.items()}
    files[PROGRESS] = progress.to_json().encode()
    sums = "".join(f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in files.items())
    return Snapshot(progress.epoch, progress.best_epoch, {**files, SUMS: sums.encode()})


def _serialize(state: dict[str, Any]) -> memoryview:
    buffer = io.BytesIO()
    paddle.save(state, buffer)
    return buffer.getbuffer()


def save_snapshot(snapshot: Snapshot, run_dir: RunDir) -> None:
    """Write checkpoints/epoch_NNNN atomically, then last and best.pdparams; delete old checkpoints.

    Raises:
        OSError: the folder cannot be written to; earlier checkpoints are unchanged.
    """
    with replacing(run_dir.checkpoint(snapshot.epoch)) as temporary:
        temporary.mkdir()  # without parents: a run folder that was deleted is not created again
        for name, data in snapshot.files.items():
            (temporary / name).write_bytes(data)
    for name, epoch in (("last", snapshot.epoch), ("best", snapshot.best_epoch)):
        if epoch == snapshot.epoch:
            with replacing(run_dir.weights(name)) as temporary:
                temporary.write_bytes(snapshot.files[WEIGHTS])
    if AVERAGE in snapshot.files:
        with replacing(run_dir.weights("last_ema")) as temporary:
            temporary.write_bytes(snapshot.files[AVERAGE])
    run_dir.prune()


def restore_weights(run_dir: RunDir, progress: Progress) -> None:
    """Copy the weights of the last and the best checkpoint of a resumed run to last and best.pdparams."""
    for name, epoch in (("last", progress.epoch), ("best", progress.best_epoch)):
        if epoch is None:
            continue
        folder = run_dir.checkpoint(epoch)
        try:
            verify_checkpoint(folder)
        except UserError as error:  # only for the best: the last one was verified before
            logger.warning("warning: %s; %s is not restored", error, run_dir.weights(name))
            continue
        with replacing(run_dir.weights(name)) as temporary:
            shutil.copyfile(folder / WEIGHTS, temporary)
        if name == "last" and (folder / AVERAGE).exists():
            with replacing(run_dir.weights("last_ema")) as temporary:
                shutil.copyfile(folder / AVERAGE, temporary)


def load_checkpoint(
    model: paddle.Model,
    checkpoint: Path,
    loss_scaling: dict | None,
    updates: int,
    average: WeightAverage | None = None,
) -> None:
    """Restore weights, optimizer, schedule and loss scaler of a prepared model, and the average of its weights.

    Args:
        loss_scaling: the scaler's arguments under AMP, else None.
        updates: number of finished updates of this run. The schedule is computed from them, since the checkpoint may be
            another run's, or of another number of processes, whose epochs have other steps.

    Raises:
        UserError: a file is missing, damaged, or of another network.
    """
    if average is not None and (checkpoint / AVERAGE).exists():
        load_pretrained(model.network, checkpoint / AVERAGE)
        average.reset()
    load_pretrained(model.network, checkpoint / WEIGHTS)
    if average is not None and not (checkpoint / AVERAGE).exists():
        average.reset()
        logger.info("the average of the weights starts from those of %s, which has none", checkpoint)
    state = read_state(checkpoint / OPTIMIZER)
    _check_optimizer_state(model, state, checkpoint / OPTIMIZER)
    schedule = model._optimizer._learning_rate
    if "LR_Scheduler" in state:
        for _ in range(updates):
            schedule.step()
        state = {**state, "LR_Scheduler": schedule.state_dict()}
    model._optimizer.set_state_dict(state)
    scaler = checkpoint / SCALER
    if loss_scaling is not None and scaler.exists():
        # Model.load skips the scaler, since fit creates it at the first step.
        model._scaler = paddle.amp.GradScaler(**loss_scaling)
        model._scaler.load_state_dict(read_state(scaler))


def _check_optimizer_state(model: paddle.Model, state: dict, source: Path) -> None:
    """Paddle would accept an incomplete state, and start the missing entries from zero."""
    optimizer = model._optimizer
    accumulator = "velocity" if isinstance(optimizer, paddle.optimizer.Momentum) else "moment1"
    expected = {f"{p.name}_{accumulator}_0": list(p.shape) for p in model.parameters() if not p.stop_gradient}
    found = {name: state[name] for name in expected if isinstance(state.get(name), np.ndarray)}
    fits = {name: list(array.shape) for name, array in found.items()} == expected
    fits = fits and all(array.dtype == np.float32 for array in found.values())
    scheduled = isinstance(optimizer._learning_rate, paddle.optimizer.lr.LRScheduler)
    if not fits or scheduled != ("LR_Scheduler" in state):
        raise UserError(f"{source} does not fit Optimizer.name {type(optimizer).__name__} and its schedule")
