"""``--dry-run``: everything built, one batch run, and what the run would take in time and memory."""

import logging
import time

import numpy as np
import paddle

from ppcls_lite.config.schema import Config
from ppcls_lite.data import BatchLoader
from ppcls_lite.engine.evaluate import evaluate
from ppcls_lite.engine.memory import Estimate, advise_batch, estimate_memory
from ppcls_lite.engine.prepare import open_device, prepare
from ppcls_lite.measure.complexity import count_macs, count_params
from ppcls_lite.runs.resume import finished_result
from ppcls_lite.runs.run_dir import RunDir
from ppcls_lite.tasks.setup import Setup, complete
from ppcls_lite.tasks.task import Task
from ppcls_lite.utils import processes
from ppcls_lite.utils.device import (
    describe_device,
    on_gpu,
    peak_memory,
    reset_peak_memory,
    synchronize,
    usable_memory,
)
from ppcls_lite.utils.errors import UserError
from ppcls_lite.utils.text import describe_bytes, describe_seconds

logger = logging.getLogger(__name__)

# Sizes of the two probing batches from which the time of the configured batch follows by a straight line.
PROBES = (2, 8)
LONGEST_BATCH = 30.0  # seconds; a batch that would take longer, or does not fit, is estimated only


def make_plan(config: Config | Setup) -> str:
    """Build everything that training builds, run one batch, and describe the run; nothing is written.

    Raises:
        UserError: whatever training would refuse.
    """
    if processes.count_processes() > 1:
        raise UserError("--dry-run plans for one process; start it without paddle.distributed.launch")
    setup = complete(config)
    config = setup.config
    open_device(config)
    run_dir = RunDir(config.Global.output_dir)
    if config.Global.resume and finished_result(config, run_dir):
        return f"{run_dir.path} is finished; nothing would be done"
    run = config.Global
    with paddle.utils.unique_name.guard():
        prepared = prepare(setup, run_dir)
        loaders, network = prepared.loaders, prepared.model.network
        steps, batch_size = len(loaders.train), loaders.train.largest_batch
        macs = count_macs(network, setup.input_size, setup.channels)
        estimate = estimate_memory(setup, prepared.model, loaders.most_scored)
        probe = _Probe(prepared.model, loaders.train, estimate)
        step_seconds, memory, how = probe.measure()
        part = loaders.val if loaders.val is not None else loaders.test
        score_seconds = _seconds_to_score(network, setup.task, part)

    todo = range(prepared.progress.epoch + 1, run.epochs + 1)
    scorings = sum(epoch % run.eval_interval == 0 or epoch == run.epochs for epoch in todo)
    total = len(todo) * steps * step_seconds + scorings * score_seconds
    if loaders.val is not None:  # the test images, once at the end
        total += score_seconds * len(loaders.test.split) / len(loaders.val.split)
    expected, free = estimate.total(batch_size), usable_memory()
    lines = [
        f"run       {run.name} -> {run_dir.path}"
        + (f", resumed from {prepared.checkpoint}" if prepared.checkpoint else ""),
        f"device    {describe_device()}",
        f"network   {config.Arch['name']} {config.arch_options}",
        f"          {count_params(network):,} parameters, {macs:,} multiply-adds at {setup.input_size} px",
        f"data      {prepared.dataset.spec.name} from {prepared.dataset.source}: "
        f"{len(loaders.train.split):,} training images"
        + (f", {len(loaders.val.split):,} validation" if loaders.val is not None else "")
        + f", {len(loaders.test.split):,} test",
        f"schedule  {len(todo)} epochs of {steps} steps of {batch_size} images; "
        f"{config.Optimizer.name}, {config.Optimizer.lr.name} {config.Optimizer.lr.learning_rate:g}",
        f"step      {step_seconds:.2f} s, {batch_size / step_seconds:.3g} images/s ({how})",
        f"scoring   {score_seconds:.0f} s, {scorings} times",
        f"time      about {describe_seconds(total)}",
        f"memory    about {describe_bytes(expected)} estimated"
        + (f", a step took {describe_bytes(memory)}" if memory else "")
        + f"; {describe_bytes(free)} available",
    ]
    if expected > free:
        lines.append(f"          that is too much here: {advise_batch(estimate, free)}")
    return "\n".join(lines)


class _Probe:
    """Time and memory of a training step, measured where that is quick and fits, else time from smaller batches."""

    def __init__(self, model: paddle.Model, loader: BatchLoader, estimate: Estimate):
        self.model, self.batch_size, self.estimate = model, loader.largest_batch, estimate
        self.batch = next(iter(loader))

    def measure(self) -> tuple[float, int | None, str]:
        """(seconds a step, bytes of memory at the peak where that was measured, how the time was found)."""
        sizes = [min(size, self.batch_size) for size in PROBES]
        self._step(1)  # first steps choose algorithms and make the optimizer's states
        seconds, memory = zip(*(self._step(size) for size in sizes), strict=True)
        if sizes[0] == sizes[1]:
            return seconds[1], memory[1], "measured"
        span = sizes[1] - sizes[0]
        step = max(seconds[1] + (self.batch_size - sizes[1]) * (seconds[1] - seconds[0]) / span, seconds[1])
        if step < LONGEST_BATCH and self.estimate.total(self.batch_size) < 0.9 * usable_memory():
            self._step(self.batch_size)  # a new shape chooses algorithms again
            seconds_full, memory_full = self._step(self.batch_size)
            return seconds_full, memory_full, "measured"
        return step, None, f"estimated from batches of {sizes[0]} and {sizes[1]}"

    def _step(self, size: int) -> tuple[float, int]:
        repeats = -(-size // len(self.batch[0]))
        images, *labels = (np.concatenate([part] * repeats)[:size] for part in self.batch)
        reset_peak_memory()
        synchronize()
        start = time.perf_counter()
        self.model.train_batch([images], labels)
        synchronize()
        return time.perf_counter() - start, peak_memory()


def _seconds_to_score(network, task: Task, loader: BatchLoader) -> float:
    """Seconds for one scoring, from some of its images."""
    batch = next(iter(loader))
    few = len(batch[0]) if on_gpu() else min(8, len(batch[0]))
    batch = tuple(part[:few] for part in batch)
    evaluate(network, task, [batch])
    return evaluate(network, task, [batch]).seconds / few * len(loader.split)
