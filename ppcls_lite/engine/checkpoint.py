"""Checkpoints of a ``paddle.Model``: weights, optimizer with schedule, loss scaler, progress.

Random states need no file: every epoch seeds them anew from (seed, epoch), see ``seeding``.
"""

import os
import shutil
from pathlib import Path

import paddle

from ppcls_lite.engine.run_dir import Progress, RunDir, replacing, write_progress
from ppcls_lite.errors import UserError
from ppcls_lite.weights import load_pretrained, read_state


def save_checkpoint(model: paddle.Model, run_dir: RunDir, progress: Progress) -> Path:
    """Write checkpoints/epoch_NNNN as a whole, point last and best.pdparams at it, and delete what is superseded."""
    folder = run_dir.checkpoint(progress.epoch)
    if folder.exists():
        shutil.rmtree(folder)
    with replacing(folder) as temporary:
        temporary.mkdir(parents=True)
        model.save(str(temporary / "model"))
        write_progress(temporary, progress)
    publish_weights(run_dir, progress)
    run_dir.prune(progress.best_epoch)
    return folder


def publish_weights(run_dir: RunDir, progress: Progress) -> None:
    """Let last.pdparams and best.pdparams be the weights of the newest and the best checkpoint."""
    for name, epoch in (("last", progress.epoch), ("best", progress.best_epoch)):
        weights = run_dir.checkpoint(epoch or 0) / "model.pdparams"
        if weights.exists():
            _point(run_dir.path / f"{name}.pdparams", weights)


def load_checkpoint(model: paddle.Model, checkpoint: Path, loss_scaling: dict | None) -> None:
    """Restore weights, optimizer, schedule and loss scaler of a prepared model.

    Args:
        loss_scaling: the scaler's arguments under AMP, else None.

    Raises:
        UserError: a file is missing, damaged, or of another network.
    """
    load_pretrained(model.network, checkpoint / "model.pdparams")
    optimizer = checkpoint / "model.pdopt"
    # Momentum without a schedule that has not stepped has no state, and Model.save then writes no file.
    if optimizer.exists():
        try:
            model._optimizer.set_state_dict(read_state(optimizer))
        except AssertionError as error:
            raise UserError(f"{optimizer} does not fit Optimizer.name and lr: {error}") from None
    scaler = checkpoint / "model.pdscaler"
    if loss_scaling is not None and scaler.exists():
        # Model.load passes the scaler by, since fit makes it only at the first step.
        model._scaler = paddle.amp.GradScaler(**loss_scaling)
        model._scaler.load_state_dict(read_state(scaler))


def _point(name: Path, target: Path) -> None:
    """Let ``name`` be the file ``target``: a second name where the file system can, else a copy."""
    with replacing(name) as temporary:
        try:
            os.link(target, temporary)
        except OSError:
            shutil.copyfile(target, temporary)
