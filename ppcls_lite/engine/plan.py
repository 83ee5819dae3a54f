"""``--dry-run``: build everything, run one batch, and estimate the time and memory of the run."""

import time

import numpy as np
import paddle

from ppcls_lite.config.schema import Config
from ppcls_lite.data import BatchLoader
from ppcls_lite.engine.evaluate import evaluate
from ppcls_lite.engine.memory import Estimate, advise_batch, estimate_memory
from ppcls_lite.engine.prepare import explain_lost_processes, log_initial_weights, open_device, prepare
from ppcls_lite.measure.complexity import count_macs, count_params
from ppcls_lite.runs.resume import finished_result
from ppcls_lite.runs.run_dir import RunDir
from ppcls_lite.tasks.setup import Setup, complete
from ppcls_lite.tasks.task import Task
from ppcls_lite.utils import processes
from ppcls_lite.utils.device import describe_device, on_gpu, peak_memory, reset_peak_memory, synchronize, usable_memory
from ppcls_lite.utils.errors import UserError
from ppcls_lite.utils.text import describe_bytes, describe_seconds

PROBE = 8  # images of the small batch that is timed first
LONGEST_BATCH = 30.0  # seconds; a batch that would take longer, or does not fit, is only estimated


@explain_lost_processes()
def make_plan(config: Config | Setup) -> str:
    """Build everything that training builds, run one batch, and describe the run; nothing is written.

    Raises:
        UserError: as for training.
        TrainingError: a loading worker was killed.
    """
    if processes.count_processes() > 1:
        raise UserError("--dry-run plans for one process; start it without paddle.distributed.launch")
    setup = complete(config)
    config = setup.config
    run = config.Global
    open_device(config)
    run_dir = RunDir(run.output_dir)
    if run.resume and finished_result(config, run_dir):
        return f"{run_dir.path} is finished; nothing to do"
    with paddle.utils.unique_name.guard():
        prepared = prepare(setup, run_dir)
        log_initial_weights(setup, prepared)
        loaders, network = prepared.loaders, prepared.model.network
        steps, batch_size = len(loaders.train), loaders.train.largest_batch
        macs = count_macs(network, setup.input_size, setup.channels)
        estimate = estimate_memory(setup, prepared.model, loaders.most_scored)
        step_seconds, memory, how = _measure_step(prepared.model, loaders.train, estimate)
        _, scored = loaders.scored
        score_seconds = _seconds_to_score(network, setup.task, scored)

    todo = range(prepared.progress.epoch + 1, run.epochs + 1)
    scorings = sum(epoch % run.eval_interval == 0 or epoch == run.epochs for epoch in todo)
    score_seconds *= 2 if run.ema_decay else 1  # the averaged weights are scored, too
    total = len(todo) * steps * step_seconds + scorings * score_seconds
    if loaders.val is not None:  # the test images are scored once, at the end
        total += score_seconds * len(loaders.test.split) / len(loaders.val.split)
    expected, free = estimate.total(batch_size), usable_memory()
    resumed = f", resumed from {prepared.checkpoint}" if prepared.checkpoint else ""
    validation = f", {len(loaders.val.split):,} validation" if loaders.val is not None else ""
    measured = f", a step took {describe_bytes(memory)}" if memory else ""
    lines = [
        f"run       {run.name} -> {run_dir.path}{resumed}",
        f"device    {describe_device()}",
        f"network   {config.Arch['name']} {config.arch_options}",
        f"          {count_params(network):,} parameters, {macs:,} multiply-adds" + setup.at_size,
        f"data      {prepared.dataset.spec.name} from {prepared.dataset.source}: "
        f"{len(loaders.train.split):,} training images{validation}, {len(loaders.test.split):,} test",
        f"schedule  {len(todo)} epochs of {steps} steps of {batch_size} images"
        + (f", an update after {run.update_freq}; " if run.update_freq > 1 else "; ")
        + f"{config.Optimizer.name}, {config.Optimizer.lr.name} {config.Optimizer.lr.learning_rate:g}",
        f"step      {step_seconds:.2f} s, {batch_size / step_seconds:.3g} images/s ({how})",
        f"scoring   {score_seconds:.0f} s, {scorings} times",
        f"time      about {describe_seconds(total)}",
        f"memory    about {describe_bytes(expected)} estimated{measured}; {describe_bytes(free)} available",
    ]
    if expected > free:
        lines.append(f"          too much for this machine: {advise_batch(estimate, free)}")
    return "\n".join(lines)


def _measure_step(model: paddle.Model, loader: BatchLoader, estimate: Estimate) -> tuple[float, int | None, str]:
    """(seconds a step, bytes at the peak or None, how the time was found).

    The full batch is measured if that is quick and fits into memory; else its time follows from a small batch.
    """
    batch, batch_size = next(iter(loader)), loader.largest_batch

    def step(size: int) -> tuple[float, int]:
        repeats = -(-size // len(batch[0]))
        *inputs, target, weights = (np.concatenate([part] * repeats)[:size] for part in batch)
        reset_peak_memory()
        synchronize()
        start = time.perf_counter()
        model.train_batch(inputs, [target, weights])
        synchronize()
        return time.perf_counter() - start, peak_memory()

    small = min(PROBE, batch_size)
    step(small)  # the first step of each shape also chooses algorithms
    seconds, memory = step(small)
    if small < batch_size:
        seconds *= batch_size / small
        if seconds >= LONGEST_BATCH or estimate.total(batch_size) >= 0.9 * usable_memory():
            return seconds, None, f"estimated from a batch of {small}"
        step(batch_size)
        seconds, memory = step(batch_size)
    return seconds, memory, "measured"


def _seconds_to_score(network: paddle.nn.Layer, task: Task, loader: BatchLoader) -> float:
    """Seconds to score all images of ``loader``, from some of them."""
    batch = next(iter(loader))
    few = len(batch[0]) if on_gpu() else min(8, len(batch[0]))
    batch = tuple(part[:few] for part in batch)
    evaluate(network, task, [batch])
    return evaluate(network, task, [batch]).seconds / few * len(loader.split)
