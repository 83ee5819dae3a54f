"""Runs in processes of their own, some side by side, with an overall progress line."""

import contextlib
import ctypes
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from ppcls_lite.ablation.machine import Slot
from ppcls_lite.ablation.runs import Run
from ppcls_lite.utils.text import describe_seconds

logger = logging.getLogger(__name__)

TOOLS = Path(__file__).resolve().parents[2] / "tools"
POLL_S = 0.2
GRACE_S = 30.0  # for a stopped run to finish its step
TAIL_LINES = 6
QUIET_S = 600.0  # without a terminal, a line at least so often

_libc = ctypes.CDLL(None)
_own_pid = os.getpid()


def _die_with_parent() -> None:
    """In the child: be killed when the ablation is, however that ends. Finished epochs are kept in any case."""
    _libc.prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if os.getppid() != _own_pid:  # it has ended already
        os._exit(1)


@dataclass
class _Job:
    """A process at work, in a slot that gives it its device or threads."""

    run: Run
    slot: int
    process: subprocess.Popen
    epochs_before: int
    start: float = field(default_factory=time.monotonic)


def execute(runs: Sequence[Run], slots: Sequence[Slot]) -> list[Run]:
    """Do the runs that are not finished, in their order, one process to a slot.

    Args:
        runs: all runs; the finished ones count in the progress.
        slots: as many as run side by side; none where nothing is left to do.

    Returns:
        The runs that failed; each was reported with the end of its log.
    """
    failed = [run for run in runs if run.error]
    waiting = [run for run in runs if not run.error and run.result() is None]
    for number, run in enumerate(failed, len(runs) - len(waiting) - len(failed) + 1):
        logger.info("[%d/%d] %s: cannot start: %s", number, len(runs), run.name, run.error)
    progress = _Progress(runs, len(slots), waiting, failed)
    free, jobs = list(range(len(slots))), []
    with logging_redirect_tqdm([logging.getLogger("ppcls_lite")]):  # log lines stand above the bar
        try:
            while waiting or jobs:
                while waiting and free:
                    run, slot = waiting.pop(0), free.pop(0)
                    jobs.append(_Job(run, slot, _start(run, slots[slot]), run.epochs_done()))
                time.sleep(POLL_S)
                for job in [job for job in jobs if job.process.poll() is not None]:
                    jobs.remove(job)
                    free.append(job.slot)
                    problem = _problem(job)
                    progress.end(job, problem, jobs, waiting)
                    if problem:
                        failed.append(job.run)
                progress.update(jobs, waiting)
        except BaseException:  # Ctrl-C, SIGTERM, or a fault of ours: leave no process behind
            _stop([job.process for job in jobs])
            raise
        finally:
            progress.close()
    return failed


def write_graphs(runs: Sequence[Run], jobs: int) -> None:
    """Have the graph of each arm's network written beside the records of its first finished run, where it has any."""
    first: dict[str, Run] = {}
    for run in runs:
        if run.config and run.config.Global.use_visualdl and run.result() is not None:
            first.setdefault(run.arm.name, run)
    waiting = [run for run in first.values() if not any((run.folder / "vdl").glob("vdlgraph.*"))]
    while waiting:
        now, waiting = waiting[:jobs], waiting[jobs:]
        logs = [run.log.with_name(f"{run.arm.name}_graph.log") for run in now]
        processes = [
            _spawn(
                [str(TOOLS / "summary.py"), "-c", str(run.folder / "config.yaml"), "--graph", str(run.folder / "vdl")],
                log,
                {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
            )
            for run, log in zip(now, logs, strict=True)
        ]
        try:
            for run, log, process in zip(now, logs, processes, strict=True):
                if process.wait():
                    logger.info("no model graph of %s: %s", run.arm.name, (read_tail(log) or ["no message"])[-1])
        except BaseException:
            _stop(processes)
            raise


def _start(run: Run, slot: Slot) -> subprocess.Popen:
    settings = [*run.settings, *(slot.settings if run.config.Global.device == "auto" else ())]
    arguments = [str(TOOLS / "train.py"), "-c", str(run.arm.config), "-o", *settings]
    return _spawn(arguments, run.log, slot.environment)


def _spawn(arguments: Sequence[str], log: Path, environment: Mapping[str, str]) -> subprocess.Popen:
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "ab") as file:
        return subprocess.Popen(
            [sys.executable, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            env={**os.environ, **environment},
            start_new_session=True,  # the terminal's Ctrl-C reaches us alone, and we pass it on
            preexec_fn=_die_with_parent,
        )


def _stop(processes: Sequence[subprocess.Popen]) -> None:
    """Ask the processes to stop, and end those that do not; a second Ctrl-C ends them at once."""
    logger.info("stopping; finished epochs are kept, and the same command goes on from there")
    try:
        for process in processes:
            process.terminate()  # not SIGINT, which a background job of a script ignores
        deadline = time.monotonic() + GRACE_S
        for process in processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, deadline - time.monotonic()))
    finally:
        for process in processes:
            process.kill()
            process.wait()


def _problem(job: _Job) -> str:
    """Why the run is not finished, or nothing."""
    status = job.process.returncode
    if status == -signal.SIGKILL:
        return "killed (SIGKILL), as the system does when memory runs out; fewer --jobs or a smaller batch need less"
    if status < 0:
        return f"ended by signal {-status} ({signal.Signals(-status).name})"
    if status > 0:
        return f"exit status {status}"
    return "" if job.run.result() is not None else "no result of this configuration; was its file changed meanwhile?"


def read_tail(log: Path) -> list[str]:
    """The last lines of a log file."""
    with contextlib.suppress(OSError), open(log, "rb") as file:
        file.seek(max(0, log.stat().st_size - 4096))
        return file.read().decode(errors="replace").splitlines()[-TAIL_LINES:]
    return []


class _Progress:
    """A line for every run that ends, and on a terminal a bar over all epochs with the time left."""

    def __init__(self, runs: Sequence[Run], slots: int, waiting: Sequence[Run], failed: Sequence[Run]):
        self.slots, self.total = slots, len(runs)
        self.ended = self.total - len(waiting)
        startable = [run for run in runs if run not in failed]
        self.epochs = {run: run.config.Global.epochs for run in startable}
        self.done = {run: 0 if run in waiting else self.epochs[run] for run in startable}
        # Seconds an epoch, of arms of which something is known.
        self.pace: dict[str, float] = {}
        for run in startable:
            result = run.result()
            if result:
                self.pace[run.arm.name] = result["wall_s"] / result["epochs"]
        self.left = ""
        self.spoken = time.monotonic()
        self.bar = tqdm(
            total=sum(self.epochs.values()),
            bar_format="{desc}{bar}{n_fmt}/{total_fmt} epochs{postfix}",
            dynamic_ncols=True,
            leave=False,
            disable=not sys.stderr.isatty(),
        )

    def update(self, jobs: Sequence[_Job], waiting: Sequence[Run]) -> None:
        """Count finished epochs, estimate the time left."""
        for job in jobs:
            done = self.done[job.run] = job.run.epochs_done()
            if done > job.epochs_before:
                self.pace[job.run.arm.name] = (time.monotonic() - job.start) / (done - job.epochs_before)
        known = sum(self.pace.values()) / len(self.pace) if self.pace else None
        todo = [*(job.run for job in jobs), *waiting]
        self.left = ""
        if known and todo:
            seconds = [(self.epochs[run] - self.done[run]) * self.pace.get(run.arm.name, known) for run in todo]
            self.left = f"about {describe_seconds(max(1, *seconds, sum(seconds) / self.slots))} left"
        self.bar.set_description_str(", ".join(job.run.name for job in jobs) + " ", refresh=False)
        self.bar.set_postfix_str(self.left, refresh=False)
        self.bar.n = sum(self.done.values())
        self.bar.refresh()
        if self.bar.disable and time.monotonic() - self.spoken > QUIET_S:
            self._say("%d of %d epochs%s", self.bar.n, self.bar.total, f"; {self.left}" if self.left else "")

    def end(self, job: _Job, problem: str, jobs: Sequence[_Job], waiting: Sequence[Run]) -> None:
        """Say how a run ended; ``jobs`` and ``waiting`` are what is left."""
        self.ended += 1
        self.done[job.run] = job.run.epochs_done() if problem else self.epochs[job.run]
        self.update(jobs, waiting)
        head = f"[{self.ended}/{self.total}] {job.run.name}"
        if problem:
            self._say("%s: failed: %s; the end of %s:", head, problem, job.run.log)
            for line in read_tail(job.run.log):
                logger.info("    %s", line)
            return
        result = job.run.result()
        self.pace[job.run.arm.name] = result["wall_s"] / result["epochs"]
        took = describe_seconds(time.monotonic() - job.start)
        left = f"; {self.left}" if self.left else ""
        score = f"{'top-1' if result['metric'] == 'top1' else result['metric']} {result['score']:.4f}"
        self._say("%s: %s after %d epochs (%s)%s", head, score, result["epochs"], took, left)

    def _say(self, message: str, *values: object) -> None:
        logger.info(message, *values)
        self.spoken = time.monotonic()

    def close(self) -> None:
        """Take the bar away."""
        self.bar.close()
