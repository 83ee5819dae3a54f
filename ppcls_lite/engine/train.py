"""``train(setup)``: one run, from its configuration to result.json."""

import contextlib
import dataclasses
import logging
import shlex
from pathlib import Path
from typing import Any

import paddle
from tqdm.contrib.logging import logging_redirect_tqdm

from ppcls_lite.config.schema import Config, flatten
from ppcls_lite.engine import build, callbacks
from ppcls_lite.engine.evaluate import Scores, evaluate, evaluate_averaged
from ppcls_lite.engine.memory import check_memory, estimate_memory
from ppcls_lite.engine.prepare import Prepared, explain_lost_processes, log_initial_weights, open_device, prepare
from ppcls_lite.runs.checkpoint import restore_weights
from ppcls_lite.runs.dashboard import Dashboard
from ppcls_lite.runs.result import conclude, describe_run, final_metrics, hparams
from ppcls_lite.runs.resume import finished_result
from ppcls_lite.runs.run_dir import RunDir
from ppcls_lite.runs.trained import describe_network
from ppcls_lite.tasks.setup import Setup, complete
from ppcls_lite.utils import processes
from ppcls_lite.utils.device import peak_memory, reset_peak_memory
from ppcls_lite.utils.errors import TrainingError
from ppcls_lite.utils.logs import LogFile, warn
from ppcls_lite.utils.signals import defer_signals
from ppcls_lite.utils.text import describe_bytes

logger = logging.getLogger(__name__)

MAX_ROWS = 200  # classes in result.json; the scores of more are in test_classes.csv or test_HEAD_classes.csv
LOCK_PATIENCE_S = 30.0  # a killed process may take a while to end, above all one with a GPU


def train(config: Config | Setup, force: bool = False) -> dict[str, Any]:
    """Train and score one run and write its folder, which docs/run_directory.md describes.

    Args:
        force: start even if the memory is far too small.

    Returns:
        The contents of result.json. A finished run that is resumed is not repeated.

    Raises:
        UserError: the run folder is in use; data, weights or checkpoint do not fit; or memory is too small.
        TrainingError: the loss became NaN or infinite, the run folder cannot be written to, or a process was killed.
    """
    setup = complete(config)
    config = setup.config
    open_device(config)
    run_dir = RunDir(config.Global.output_dir)
    try:
        result = processes.on_rank0(lambda: _lock(config, run_dir))
        if result is not None:
            logger.info("%s is finished: test %s %.4f", run_dir.path, result["metric"], result["score"])
            return result
        with explain_lost_processes(lambda: _how_to_continue(run_dir)):
            return _train(setup, run_dir, force)
    finally:
        run_dir.lock.release()


def _lock(config: Config, run_dir: RunDir) -> dict[str, Any] | None:
    """Lock the run folder if it exists; return the result if it holds a finished run that is to be resumed."""
    if run_dir.path.is_dir():
        run_dir.lock.acquire(patience=LOCK_PATIENCE_S if config.Global.resume else 0.0)
    return finished_result(config, run_dir) if config.Global.resume else None


def _train(setup: Setup, run_dir: RunDir, force: bool) -> dict[str, Any]:
    # Optimizer states are named after parameters, and parameters by a counter: resuming needs it to start at 0.
    with paddle.utils.unique_name.guard():
        prepared = prepare(setup, run_dir)
        estimate = estimate_memory(setup, prepared.model, prepared.loaders.most_scored)
        processes.raise_everywhere(lambda: check_memory(estimate, prepared.loaders.train.largest_batch, force))
        reset_peak_memory()
        if processes.rank() != 0:
            return _run(setup, run_dir, prepared)
        with _explain_failed_writing(run_dir):
            _open_run_dir(setup, run_dir, prepared)  # only now: a mistake in the input leaves no folder behind
            with _log_to(run_dir.log):
                if prepared.checkpoint is not None:
                    run_dir.adopt(prepared.checkpoint, prepared.progress)
                    run_dir.set_aside(after=prepared.progress.epoch)
                    restore_weights(run_dir, prepared.progress)
                    run_dir.prune()  # the last process may have been killed before it did
                return _run(setup, run_dir, prepared)


def _open_run_dir(setup: Setup, run_dir: RunDir, prepared: Prepared) -> None:
    """Make the folder with its configuration, or open an existing one.

    The configuration keeps the name of another run's checkpoint that this run started from: the run resumes from there
    until the checkpoint has been copied.
    """
    config = setup.config
    run_dir.create()
    run_dir.write_metadata(describe_network(setup, str(run_dir.path)).to_dict())
    origin = prepared.origin and str(prepared.origin.absolute())
    kept = dataclasses.replace(config.Global, checkpoints=origin, resume=None)
    run_dir.write_config(dataclasses.replace(config, Global=kept).to_yaml())
    run_dir.write_metrics(prepared.progress.rows, setup.task)


@contextlib.contextmanager
def _explain_failed_writing(run_dir: RunDir):
    """Turn an OSError into one sentence: once the data are read, only the run folder can raise it."""
    try:
        yield
    except OSError as error:
        saved = run_dir.list_checkpoints()
        kept = f"{saved[-1]} is complete" if saved else "there is no checkpoint yet"
        raise TrainingError(
            f"{run_dir.path} cannot be written to ({error.strerror or error}); {kept}; "
            f"fix that, then {_how_to_continue(run_dir)}"
        ) from None


def _how_to_continue(run_dir: RunDir) -> str:
    if run_dir.config() is None:
        return "start it again"
    config = shlex.quote(str(run_dir.path / "config.yaml"))
    return f"continue with: python tools/train.py -c {config} -o Global.resume=auto"


@contextlib.contextmanager
def _log_to(path: Path):
    """Also write the project's log lines to ``path``."""
    project = logging.getLogger("ppcls_lite")
    project.setLevel(logging.INFO)
    try:
        handler: logging.Handler = LogFile(path)
    except OSError as error:
        warn(f"{path} cannot be written to ({error.strerror}); the run continues")
        handler = logging.NullHandler()
    project.addHandler(handler)
    try:
        yield
    finally:
        project.removeHandler(handler)
        handler.close()


def _run(setup: Setup, run_dir: RunDir, prepared: Prepared) -> dict[str, Any]:
    config, task, progress, loaders = setup.config, setup.task, prepared.progress, prepared.loaders
    sizes = {part: len(loader.split) for part, loader in loaders.by_part().items()}
    subject, environment = describe_run(setup, prepared.dataset, sizes, prepared.model.network)
    if progress.processes > 1:
        logger.info(
            "%d processes, %d images a step; if one ends, all end; Global.resume=auto continues with any number",
            progress.processes,
            config.DataLoader.batch_size * progress.processes,
        )
    if prepared.checkpoint is not None:
        done = f"{progress.epoch} of {config.Global.epochs} epochs"
        logger.info("resumed from %s after %s", prepared.checkpoint, done)
    log_initial_weights(setup, prepared)

    shown = config.Global.use_visualdl and processes.rank() == 0
    metrics = [metric.name for metric in task.metrics]
    dashboard = Dashboard(run_dir.vdl, progress.rows, _display_name(config), metrics, enabled=shown)
    with contextlib.closing(dashboard):
        if shown:
            logger.info("dashboard: visualdl --logdir %s --host 127.0.0.1", run_dir.vdl)
            if progress.epoch == 0 or dashboard.is_new:
                dashboard.add_config(flatten(config.to_dict()))
                if setup.spec.has_images:
                    from ppcls_lite.pictures.plots import tile  # matplotlib takes a second to import

                    dashboard.add_picture("training", tile(build.first_images(loaders.train, setup.input_size)))
        patience = config.Global.early_stop_patience
        ended = progress.epoch >= config.Global.epochs or progress.stops_early(patience)
        scores = None if ended else _fit(setup, run_dir, prepared, dashboard)
        last = progress.rows[-1]
        network, is_scored = prepared.model.network, "test_loss" in last
        if not is_scored:  # on test images
            scores, columns = evaluate_averaged(network, task, loaders.test, prepared.average, "test")
            last = {**last, **columns}
        elif scores is None:  # resumed after the last epoch
            scores = evaluate(network, task, loaders.test)
        report = task.report(scores.sums)
        if not is_scored:
            dashboard.add_pictures("test", lambda: task.pictures(scores.sums), progress.epoch)
            dashboard.add_report("test", lambda: report, progress.epoch)
        details = {f"test_{name}": value for name, value in report.items()}
        long = [name for name in details if name.endswith("classes") and len(details[name]) > MAX_ROWS]
        tables = {name: details.pop(name) for name in long}
        result = subject | conclude(last, progress, task, build.count_skipped(loaders)) | details | environment
        if patience is not None:
            result["stopped_early"] = progress.epoch < config.Global.epochs and progress.stops_early(patience)
            if result["stopped_early"]:
                logger.info("stopped early: epoch %d is the best, %d before", progress.best_epoch, patience)
        dashboard.add_hparams(hparams(setup), final_metrics(result), progress.epoch)
    if processes.rank() == 0:
        for name, classes in tables.items():
            run_dir.write_classes(name, classes)
        run_dir.write_result(result)
    logger.info("memory: %s at the peak", describe_bytes(peak_memory()))
    loss = "" if task.headline.name == "loss" else f", loss {result['test_loss']:.4f}"
    logger.info("test %s%s", task.headline.show(result["score"]), loss)
    return result


def _display_name(config: Config) -> str:
    """``"octresnet20 s0, output>ablation_quick"``: distinguishing parts first, since VisualDL cuts long names.

    Slashes are replaced because the graph page shows only what follows the last one.
    """
    run = config.Global
    fold = (config.DataLoader.fold or "").partition("/")[0]
    folder = run.output_dir.removesuffix(f"/fold_{fold}").removesuffix(f"/{run.name}/seed_{run.seed}")
    return f"{run.name} s{run.seed}{fold and f' f{fold}'}, {folder.replace('/', '>')}"


def _fit(setup: Setup, run_dir: RunDir, prepared: Prepared, dashboard: Dashboard) -> Scores:
    """Train the remaining epochs; returns the scores of the last one."""
    progress, loaders, epochs = prepared.progress, prepared.loaders, setup.config.Global.epochs
    epoch_end = callbacks.EpochEnd(setup, loaders, run_dir, dashboard, progress, prepared.average)
    averaging = [callbacks.Averaging(prepared.average, loaders.train)] if prepared.average is not None else []
    project = [logging.getLogger("ppcls_lite")]
    shows_bar = callbacks.ProgressBar.is_shown()  # then log lines are printed above it
    try:
        with logging_redirect_tqdm(project) if shows_bar else contextlib.nullcontext():
            prepared.model.fit(
                loaders.train,
                epochs=epochs - progress.epoch,
                accumulate_grad_batches=loaders.train.update_freq,
                verbose=0,
                callbacks=[
                    callbacks.TrainEpoch(setup, loaders.train, progress),
                    callbacks.ProgressBar(progress, epochs, len(loaders.train)),
                    *averaging,
                    epoch_end,
                    callbacks.Schedule(loaders.train),
                ],
            )
    except (KeyboardInterrupt, SystemExit, MemoryError, RuntimeError, SystemError) as error:
        with defer_signals():  # even if Ctrl-C is pressed twice
            epoch_end.save()  # save_interval may have skipped finished epochs
            if isinstance(error, KeyboardInterrupt | SystemExit):
                logger.info("stopped in epoch %d; %s", progress.epoch + 1, _how_to_continue(run_dir))
        raise
    return epoch_end.scores
