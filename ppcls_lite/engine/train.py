"""``train(config)``: one run, from its configuration to result.json."""

import contextlib
import dataclasses
import logging
import shlex
from pathlib import Path
from typing import Any

import paddle
from tqdm.contrib.logging import logging_redirect_tqdm

from ppcls_lite.config.schema import Config, flatten
from ppcls_lite.data.workers import WORKER_KILLED
from ppcls_lite.engine import build, callbacks
from ppcls_lite.engine.evaluate import evaluate
from ppcls_lite.engine.memory import check_memory, estimate_memory
from ppcls_lite.engine.prepare import Prepared, open_device, prepare
from ppcls_lite.runs.checkpoint import restore_weights
from ppcls_lite.runs.dashboard import Dashboard
from ppcls_lite.runs.result import conclude, describe_run, final_metrics, hparams
from ppcls_lite.runs.resume import finished_result
from ppcls_lite.runs.run_dir import Progress, RunDir
from ppcls_lite.runs.trained import describe_network
from ppcls_lite.tasks.setup import Setup, complete
from ppcls_lite.utils import processes
from ppcls_lite.utils.device import peak_memory, reset_peak_memory
from ppcls_lite.utils.errors import TrainingError
from ppcls_lite.utils.logs import LogFile, warn
from ppcls_lite.utils.signals import defer_signals
from ppcls_lite.utils.text import describe_bytes

logger = logging.getLogger(__name__)

GRACE_S = 30.0


def train(config: Config | Setup, force: bool = False) -> dict[str, Any]:
    """Train, score and write down one run; see docs/run_directory.md for what lies in its folder afterwards.

    Args:
        force: start even where the memory is far from enough.

    Returns:
        What result.json holds. A finished run that is resumed is not repeated.

    Raises:
        UserError: the run folder is in use, data, weights or checkpoint do not fit, or memory is not enough.
        TrainingError: the loss became NaN or infinite, or the run folder cannot be written to.
    """
    setup = complete(config)
    config = setup.config
    open_device(config)
    run_dir = RunDir(config.Global.output_dir)
    try:
        result = processes.on_rank0(lambda: _claim(config, run_dir))
        if result is not None:
            logger.info("%s is finished: test %s %.4f", run_dir.path, result["metric"], result["score"])
            return result
        return _train(setup, run_dir, force)
    finally:
        run_dir.lock.release()


def _claim(config: Config, run_dir: RunDir) -> dict[str, Any] | None:
    """Lock the run folder if there is one; the result if it holds a finished run that is to be resumed."""
    if run_dir.path.is_dir():
        # A killed process may take a while to go, above all one with a GPU.
        run_dir.lock.acquire(patience=GRACE_S if config.Global.resume else 0.0)
    return finished_result(config, run_dir) if config.Global.resume else None


def _train(setup: Setup, run_dir: RunDir, force: bool) -> dict[str, Any]:
    # Parameters are named by a counter, and optimizer states by parameters: a fresh count makes resuming possible in
    # any process.
    with paddle.utils.unique_name.guard():
        prepared = prepare(setup, run_dir)
        estimate = estimate_memory(setup, prepared.model, prepared.loaders.most_scored)
        processes.raise_everywhere(lambda: check_memory(estimate, prepared.loaders.train.largest_batch, force))
        # Only now is there something to write: a mistake above leaves no folder behind.
        reset_peak_memory()
        if processes.rank() != 0:
            return _run(setup, run_dir, prepared)
        with _explains_failed_writing(run_dir):
            _open_run_dir(setup, run_dir, prepared)
            with _log_to(run_dir.log):
                if prepared.checkpoint is not None:
                    _take_over(run_dir, prepared.checkpoint, prepared.progress)
                return _run(setup, run_dir, prepared)


def _open_run_dir(setup: Setup, run_dir: RunDir, prepared: Prepared) -> None:
    """Make the folder with its configuration, or open it again.

    The configuration names another run's checkpoint that this one began from: until it has been copied, that is what
    the run goes on from.
    """
    config = setup.config
    run_dir.create()
    run_dir.write_metadata(describe_network(setup, str(run_dir.path)).to_dict())
    began = prepared.origin and str(prepared.origin.absolute())
    kept = dataclasses.replace(config.Global, checkpoints=began, resume=None)
    run_dir.write_config(dataclasses.replace(config, Global=kept).to_yaml())
    run_dir.write_metrics(prepared.progress.rows, setup.task)


def _take_over(run_dir: RunDir, checkpoint: Path, progress: Progress) -> None:
    """Bring the folder to the state of the checkpoint that the run goes on from."""
    run_dir.adopt(checkpoint, progress)
    run_dir.set_aside(after=progress.epoch)
    restore_weights(run_dir, progress)
    run_dir.prune()  # where the last process was killed before it did


@contextlib.contextmanager
def _explains_failed_writing(run_dir: RunDir):
    """Turn an OSError, which only the run folder can raise once the data are read, into a sentence."""
    try:
        yield
    except OSError as error:
        whole = run_dir.list_checkpoints()
        kept = f"{whole[-1]} is whole" if whole else "there is no checkpoint yet"
        raise TrainingError(
            f"{run_dir.path} cannot be written to ({error.strerror or error}); {kept}; "
            f"mend that, then {_how_to_continue(run_dir)}"
        ) from None


def _how_to_continue(run_dir: RunDir) -> str:
    if run_dir.config() is None:
        return "start it again"
    config = shlex.quote(str(run_dir.path / "config.yaml"))
    return f"continue with: python tools/train.py -c {config} -o Global.resume=auto"


@contextlib.contextmanager
def _log_to(path: Path):
    """Have the project's log lines written to ``path``, too."""
    project = logging.getLogger("ppcls_lite")
    project.setLevel(logging.INFO)
    try:
        handler: logging.Handler = LogFile(path)
    except OSError as error:
        warn(f"{path} cannot be written to ({error.strerror}); the run goes on")
        handler = logging.NullHandler()
    project.addHandler(handler)
    try:
        yield
    finally:
        project.removeHandler(handler)
        handler.close()


def _run(setup: Setup, run_dir: RunDir, prepared: Prepared) -> dict[str, Any]:
    config, task, progress, loaders = setup.config, setup.task, prepared.progress, prepared.loaders
    facts = describe_run(setup, prepared.dataset, prepared.loaders.sizes(), prepared.model.network)
    if progress.processes > 1:
        logger.info(
            "%d processes, %d images a step; where one dies all end, and Global.resume=auto goes on, with any number",
            progress.processes,
            config.DataLoader.batch_size * progress.processes,
        )
    if prepared.checkpoint is not None:
        done = f"{progress.epoch} of {config.Global.epochs} epochs"
        logger.info("resumed from %s after %s", prepared.checkpoint, done)
    elif config.Global.pretrained_model:
        logger.info("weights from %s", config.Global.pretrained_model)

    dashboard = None
    if config.Global.use_visualdl and processes.rank() == 0:
        logger.info("dashboard: visualdl --logdir %s --host 127.0.0.1", run_dir.vdl)
        metrics = [metric.name for metric in task.metrics]
        dashboard = Dashboard(run_dir.vdl, progress.rows, _display_name(config), metrics)
        if progress.epoch == 0 or dashboard.is_new:
            dashboard.add_config(flatten(config.to_dict()))
            dashboard.add_training_images(build.first_images(loaders.train, setup.input_size))
    try:
        _fit(setup, run_dir, prepared, dashboard)
        last = progress.rows[-1]
        if "test_loss" not in last:  # validation images were scored along the way
            scores = evaluate(prepared.model.network, task, loaders.test)
            last = {**last, **{f"test_{name}": value for name, value in scores.values.items()}}
            if dashboard is not None:
                dashboard.add_pictures("test", task.pictures(scores.sums), progress.epoch)
        result = conclude(facts, last, progress, task, build.count_skipped(loaders))
        if dashboard is not None:
            dashboard.add_hparams(hparams(setup), final_metrics(result), progress.epoch)
    finally:
        if dashboard is not None:
            dashboard.close()
    if processes.rank() == 0:
        run_dir.write_result(result)
    logger.info("memory: %s at the peak", describe_bytes(peak_memory()))
    logger.info("test %s, loss %.4f", task.headline.show(result["score"]), result["test_loss"])
    return result


def _display_name(config: Config) -> str:
    """``"octresnet20 s0, output>ablation_quick"``: what tells runs apart first, since pages cut names short.

    The graph page would show only what follows the last slash.
    """
    run = config.Global
    folder = run.output_dir.removesuffix(f"/{run.name}/seed_{run.seed}")
    return f"{run.name} s{run.seed}, {folder.replace('/', '>')}"


def _fit(setup: Setup, run_dir: RunDir, prepared: Prepared, dashboard: Dashboard | None) -> None:
    progress, loaders, task = prepared.progress, prepared.loaders, setup.task
    run, steps = setup.config.Global, len(loaders.train)
    if progress.epoch >= run.epochs:
        return
    part, scored = ("val", loaders.val) if loaders.val is not None else ("test", loaders.test)
    epoch_end = callbacks.EpochEnd(run_dir, dashboard, task, run.epochs, run.save_interval, progress)
    try:
        with _above_the_progress_bar():
            prepared.model.fit(
                loaders.train,
                epochs=run.epochs - progress.epoch,
                verbose=0,
                callbacks=[
                    callbacks.EpochStart(loaders.train, run.seed, progress),
                    callbacks.TrainMeter(loaders.train, task, progress),
                    callbacks.ProgressBar(progress, run.epochs, steps),
                    *([callbacks.StatisticsMean()] if processes.count_processes() > 1 else []),
                    callbacks.Evaluator(part, scored, task, run.eval_interval, run.epochs, progress, dashboard),
                    epoch_end,
                ],
            )
    except (KeyboardInterrupt, SystemExit, TrainingError, MemoryError) as error:
        with defer_signals():  # also where Ctrl-C is pressed twice
            epoch_end.save()  # finished epochs that save_interval passed by
            if isinstance(error, KeyboardInterrupt | SystemExit):
                logger.info("stopped in epoch %d; %s", progress.epoch + 1, _how_to_continue(run_dir))
        raise
    except SystemError as error:
        # Paddle raises it wherever the main process is when a loading worker is killed.
        if "DataLoader" not in str(error):
            raise
        with defer_signals():
            epoch_end.save()
        raise TrainingError(f"{WORKER_KILLED}; then {_how_to_continue(run_dir)}") from None
    except RuntimeError as error:
        if processes.count_processes() == 1:
            raise
        with defer_signals():
            epoch_end.save()
        reason = str(error).strip().splitlines()[-1]
        raise TrainingError(
            f"another process has ended, or cannot be reached ({reason}); its log/workerlog.N says why; "
            f"then {_how_to_continue(run_dir)}"
        ) from None


def _above_the_progress_bar() -> contextlib.AbstractContextManager:
    """Have log lines printed above the progress bar, where there is one."""
    shown = callbacks.ProgressBar.is_shown()
    return logging_redirect_tqdm([logging.getLogger("ppcls_lite")]) if shown else contextlib.nullcontext()
