"""``--dry-run``: everything built, one batch run, and what the run would take in time and memory."""

import logging
import time

import numpy as np
import paddle

from ppcls_lite.config import Config
from ppcls_lite.device import (
    describe_device,
    on_gpu,
    peak_memory,
    reset_peak_memory,
    synchronize,
    usable_memory,
)
from ppcls_lite.engine.evaluate import evaluate
from ppcls_lite.engine.prepare import prepare
from ppcls_lite.engine.resume import finished_result
from ppcls_lite.engine.run_dir import RunDir
from ppcls_lite.measure.complexity import count_macs, count_params
from ppcls_lite.text import describe_seconds

logger = logging.getLogger(__name__)

# Sizes of the two probing batches from which time and memory of the configured batch follow by a straight line.
PROBES = (2, 8)
LONGEST_BATCH = 30.0  # seconds; a batch that would take longer, or does not fit, is estimated only


def make_plan(config: Config) -> str:
    """Build everything that training builds, run one batch, and describe the run; nothing is written.

    Raises:
        UserError: whatever training would refuse.
    """
    run_dir = RunDir(config.Global.output_dir)
    if config.Global.resume and finished_result(config, run_dir):
        return f"{run_dir.path} is finished; nothing would be done"
    data, run = config.DataLoader, config.Global
    with paddle.utils.unique_name.guard():
        prepared = prepare(config, run_dir)
        loaders, network = prepared.loaders, prepared.model.network
        steps = len(loaders.train)
        macs = count_macs(network, config.input_size, prepared.dataset.info.channels)
        probe = _Probe(prepared.model, loaders.train)
        step_seconds, memory, how = probe.measure()
        part = loaders.val if loaders.val is not None else loaders.test
        score_seconds = _seconds_to_score(network, part)

    todo = range(prepared.progress.epoch + 1, run.epochs + 1)
    scorings = sum(epoch % run.eval_interval == 0 or epoch == run.epochs for epoch in todo)
    total = len(todo) * steps * step_seconds + scorings * score_seconds
    if loaders.val is not None:  # the test images, once at the end
        total += score_seconds * len(loaders.test.split) / len(loaders.val.split)
    free = usable_memory()
    lines = [
        f"run       {run.name} -> {run_dir.path}"
        + (f", resumed from {prepared.checkpoint}" if prepared.checkpoint else ""),
        f"device    {describe_device()}",
        f"network   {config.Arch['name']} {config.arch_options}",
        f"          {count_params(network):,} parameters, {macs:,} multiply-adds at {config.input_size} px",
        f"data      {data.dataset} from {prepared.dataset.source}: {len(loaders.train.split):,} training images"
        + (f", {len(loaders.val.split):,} validation" if loaders.val is not None else "")
        + f", {len(loaders.test.split):,} test",
        f"schedule  {len(todo)} epochs of {steps} steps of {data.batch_size} images; "
        f"{config.Optimizer.name}, {config.Optimizer.lr.name} {config.Optimizer.lr.learning_rate:g}",
        f"step      {step_seconds:.2f} s, {data.batch_size / step_seconds:.3g} images/s ({how})",
        f"scoring   {score_seconds:.0f} s, {scorings} times",
        f"time      about {describe_seconds(total)}",
        f"memory    about {_gib(memory)}, and {_gib(free)} can be had",
    ]
    if memory > free:
        fits = probe.largest_batch(free)
        advice = f"DataLoader.batch_size={fits} would fit" if fits >= 1 else "no batch size would fit"
        lines.append(f"          that is too much here: {advice}")
    return "\n".join(lines)


def _gib(size: float) -> str:
    return f"{size / 2**30:.1f} GiB"


class _Probe:
    """Time and memory of a training step, measured where that is quick and fits, else from smaller batches."""

    def __init__(self, model: paddle.Model, loader):
        self.model, self.batch_size = model, loader.batch_size
        self.images, self.labels = next(iter(loader))
        self.fixed, self.per_image = 0.0, 0.0

    def measure(self) -> tuple[float, float, str]:
        """(seconds a step, bytes of memory at the peak, how that was found)."""
        sizes = [min(size, self.batch_size) for size in PROBES]
        self._step(1)  # first steps choose algorithms and make the optimizer's states
        seconds, memory = zip(*(self._step(size) for size in sizes), strict=True)
        if sizes[0] == sizes[1]:
            return seconds[1], memory[1], "measured"
        span = sizes[1] - sizes[0]
        self.per_image = max(0.0, (memory[1] - memory[0]) / span)
        self.fixed = memory[1] - self.per_image * sizes[1]
        step = max(seconds[1] + (self.batch_size - sizes[1]) * (seconds[1] - seconds[0]) / span, seconds[1])
        expected = self.fixed + self.per_image * self.batch_size
        if step < LONGEST_BATCH and expected < 0.9 * usable_memory():
            self._step(self.batch_size)  # a new shape chooses algorithms again
            seconds_full, memory_full = self._step(self.batch_size)
            return seconds_full, memory_full, "measured"
        return step, expected, f"estimated from batches of {sizes[0]} and {sizes[1]}"

    def largest_batch(self, memory: float) -> int:
        """The largest batch whose estimated memory is at most ``memory``."""
        return int((memory - self.fixed) / self.per_image) if self.per_image else 0

    def _step(self, size: int) -> tuple[float, int]:
        repeats = -(-size // len(self.labels))
        images = np.concatenate([self.images] * repeats)[:size]
        labels = np.concatenate([self.labels] * repeats)[:size]
        reset_peak_memory()
        synchronize()
        start = time.perf_counter()
        self.model.train_batch([images], [labels])
        synchronize()
        return time.perf_counter() - start, peak_memory()


def _seconds_to_score(network, loader) -> float:
    """Seconds for one scoring, from some of its images."""
    images, labels = next(iter(loader))
    few = len(labels) if on_gpu() else min(8, len(labels))
    evaluate(network, [(images[:few], labels[:few])])
    return evaluate(network, [(images[:few], labels[:few])]).seconds / few * len(loader.split)
