"""Checkpoints of a ``paddle.Model``: weights, optimizer with schedule, loss scaler, progress.

Random states need no file: every epoch seeds them anew from (seed, epoch), see ``seeding``.
"""

import shutil
from pathlib import Path

import paddle

from ppcls_lite.engine.run_dir import Progress, RunDir, write_progress
from ppcls_lite.errors import UserError
from ppcls_lite.files import replacing
from ppcls_lite.weights import load_pretrained, read_state


def save_checkpoint(model: paddle.Model, run_dir: RunDir, progress: Progress) -> None:
    """Write checkpoints/epoch_NNNN whole, copy its weights to last and best.pdparams, delete what is superseded."""
    folder = run_dir.checkpoint(progress.epoch)
    if folder.exists():
        shutil.rmtree(folder)
    with replacing(folder) as temporary:
        temporary.mkdir(parents=True)
        model.save(str(temporary / "model"))
        write_progress(temporary, progress)
    publish_weights(run_dir, progress)
    run_dir.prune(progress.best_epoch)


def publish_weights(run_dir: RunDir, progress: Progress) -> None:
    """Copy to last.pdparams and best.pdparams the weights of the newest and the best checkpoint."""
    for name, epoch in (("last", progress.epoch), ("best", progress.best_epoch)):
        weights = run_dir.checkpoint(epoch or 0) / "model.pdparams"
        if weights.exists():
            with replacing(run_dir.path / f"{name}.pdparams") as temporary:
                shutil.copyfile(weights, temporary)


def load_checkpoint(model: paddle.Model, checkpoint: Path, loss_scaling: dict | None) -> None:
    """Restore weights, optimizer, schedule and loss scaler of a prepared model.

    Args:
        loss_scaling: the scaler's arguments under AMP, else None.

    Raises:
        UserError: a file is missing, damaged, or of another network.
    """
    load_pretrained(model.network, checkpoint / "model.pdparams")
    optimizer = checkpoint / "model.pdopt"
    state = read_state(optimizer)
    _check_optimizer_state(model, state, optimizer)
    model._optimizer.set_state_dict(state)
    scaler = checkpoint / "model.pdscaler"
    if loss_scaling is not None and scaler.exists():
        # Model.load passes the scaler by, since fit makes it only at the first step.
        model._scaler = paddle.amp.GradScaler(**loss_scaling)
        model._scaler.load_state_dict(read_state(scaler))


def _check_optimizer_state(model: paddle.Model, state: dict, source: Path) -> None:
    """Paddle would take a state that lacks entries, and begin those anew."""
    optimizer = model._optimizer
    accumulator = "velocity" if isinstance(optimizer, paddle.optimizer.Momentum) else "moment1"
    expected = {f"{p.name}_{accumulator}_0": list(p.shape) for p in model.parameters() if not p.stop_gradient}
    fits = all(list(getattr(state.get(name), "shape", ())) == shape for name, shape in expected.items())
    scheduled = isinstance(optimizer._learning_rate, paddle.optimizer.lr.LRScheduler)
    if not fits or scheduled != ("LR_Scheduler" in state):
        raise UserError(f"{source} does not fit Optimizer.name {type(optimizer).__name__} and its schedule")
