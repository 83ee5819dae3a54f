"""Runs training processes, some side by side, with an overall progress line."""

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
from ppcls_lite.ablation.rows import find_headline
from ppcls_lite.ablation.runs import Run
from ppcls_lite.utils.text import describe_seconds

logger = logging.getLogger(__name__)

TOOLS = Path(__file__).resolve().parents[2] / "tools"
POLL_S = 0.2
GRACE_S = 30.0  # for a stopped run to finish its step
TAIL_LINES = 6
QUIET_S = 600.0  # longest time without a log line, if there is no terminal

_libc = ctypes.CDLL(None)
_own_pid = os.getpid()


def _die_with_parent() -> None:
    """In a child process: have the kernel kill it when the ablation ends, for whatever reason."""
    _libc.prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if os.getppid() != _own_pid:  # the parent has ended already
        os._exit(1)


@dataclass
class _Job:
    """A running process and the slot that it occupies."""

    run: Run
    slot: Slot
    process: subprocess.Popen
    epochs_before: int
    start: float = field(default_factory=time.monotonic)


def execute(runs: Sequence[Run], slots: Sequence[Slot]) -> list[Run]:
    """Start the unfinished runs in order, one process per slot at a time, and wait for all of them.

    Args:
        runs: all runs; finished ones only count in the progress.
        slots: one for each run side by side; may be empty if no run is left.

    Returns:
        The runs that failed; each was reported with the end of its log.
    """
    failed = [run for run in runs if run.error]
    waiting = [run for run in runs if not run.error and run.result() is None]
    jobs: list[_Job] = []
    free = list(slots)
    progress = _Progress(runs, len(slots), jobs, waiting)
    for run in failed:
        progress.report(run, f"cannot start: {run.error}")
    with logging_redirect_tqdm([logging.getLogger("ppcls_lite")]):  # log lines appear above the bar
        try:
            while waiting or jobs:
                while waiting and free:
                    run, slot = waiting.pop(0), free.pop(0)
                    jobs.append(_Job(run, slot, _start(run, slot), run.epochs_done()))
                time.sleep(POLL_S)
                for job in [job for job in jobs if job.process.poll() is not None]:
                    jobs.remove(job)
                    free.append(job.slot)
                    problem = _find_problem(job)
                    progress.end(job, problem)
                    if problem:
                        failed.append(job.run)
                progress.update()
        except BaseException:  # Ctrl-C, SIGTERM or a bug: leave no process behind
            _stop([job.process for job in jobs])
            raise
        finally:
            progress.bar.close()
    return failed


def write_graphs(runs: Sequence[Run]) -> None:
    """Write the graph of each arm's network beside the VisualDL records of its first finished run, if missing."""
    first: dict[str, Run] = {}
    for run in runs:
        if run.config and run.config.Global.use_visualdl and run.result() is not None:
            first.setdefault(run.arm.name, run)
    for arm, run in first.items():
        vdl, log = run.folder / "vdl", run.log.with_name(f"{arm}_graph.log")
        if any(vdl.glob("vdlgraph.*")):
            continue
        arguments = ["summary.py", "-c", run.folder / "config.yaml", "--graph", vdl]
        process = _spawn(arguments, log, {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""})
        try:
            if process.wait():
                logger.info("no model graph of %s: %s", arm, (_read_tail(log) or ["no message"])[-1])
        except BaseException:
            _stop([process])
            raise


def _start(run: Run, slot: Slot) -> subprocess.Popen:
    settings = [*run.settings, *(slot.settings if run.config.Global.device == "auto" else ())]
    return _spawn(["train.py", "-c", run.arm.config, "-o", *settings], run.log, slot.environment)


def _spawn(command: Sequence[str | Path], log: Path, environment: Mapping[str, str]) -> subprocess.Popen:
    """Start one of the tools; its output is appended to ``log``."""
    tool, *arguments = command
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "ab") as file:
        return subprocess.Popen(
            [sys.executable, TOOLS / tool, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            env={**os.environ, **environment},
            start_new_session=True,  # the terminal sends Ctrl-C to this process only, which stops the others itself
            preexec_fn=_die_with_parent,
        )


def _stop(processes: Sequence[subprocess.Popen]) -> None:
    """Ask the processes to stop, then kill those still running; a second Ctrl-C kills them at once."""
    logger.info("stopping; finished epochs are kept, and the same command continues from there")
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


def _find_problem(job: _Job) -> str:
    """Why a run that ended is not finished, or an empty string."""
    status = job.process.returncode
    if status == -signal.SIGKILL:
        return "killed (SIGKILL), as the system does when memory runs out; fewer --jobs or a smaller batch need less"
    if status < 0:
        return f"ended by signal {-status} ({signal.Signals(-status).name})"
    if status > 0:
        return f"exit status {status}"
    return "" if job.run.result() is not None else "no result of this configuration; was its file changed meanwhile?"


def _read_tail(log: Path) -> list[str]:
    """The last lines of a log file."""
    with contextlib.suppress(OSError), open(log, "rb") as file:
        file.seek(max(0, log.stat().st_size - 4096))
        return file.read().decode(errors="replace").splitlines()[-TAIL_LINES:]
    return []


class _Progress:
    """Logs each run that ends; on a terminal, shows a bar over all epochs with the time left.

    ``jobs`` and ``waiting`` are the running and the waiting runs, which the caller updates.
    """

    def __init__(self, runs: Sequence[Run], slots: int, jobs: Sequence[_Job], waiting: Sequence[Run]):
        self.total, self.slots, self.jobs, self.waiting = len(runs), slots, jobs, waiting
        self.epochs = {run: run.config.Global.epochs for run in runs if not run.error}
        self.done = {run: 0 if run in waiting else epochs for run, epochs in self.epochs.items()}
        self.ended = sum(run not in waiting for run in self.done)
        self.pace: dict[str, float] = {}  # seconds per epoch by arm, if known
        for run in self.done:
            if result := run.result():
                self.pace[run.arm.name] = result["wall_s"] / result["epochs"]
        self.last_line = time.monotonic()
        self.bar = tqdm(
            total=sum(self.epochs.values()),
            bar_format="{desc}{bar}{n_fmt}/{total_fmt} epochs{postfix}",
            dynamic_ncols=True,
            leave=False,
            disable=not sys.stderr.isatty(),
        )

    def update(self) -> None:
        """Count the finished epochs and refresh the bar."""
        for job in self.jobs:
            done = self.done[job.run] = job.run.epochs_done()
            if done > job.epochs_before:
                self.pace[job.run.arm.name] = (time.monotonic() - job.start) / (done - job.epochs_before)
        self.bar.set_description_str(", ".join(job.run.name for job in self.jobs) + " ", refresh=False)
        self.bar.set_postfix_str(self._time_left(), refresh=False)
        self.bar.n = sum(self.done.values())
        self.bar.refresh()
        if self.bar.disable and time.monotonic() - self.last_line > QUIET_S:
            self._log(f"{self.bar.n} of {self.bar.total} epochs", self._time_left())

    def _time_left(self) -> str:
        """``about 12 min left``, or an empty string if no pace is known; arms of unknown pace get the mean."""
        runs = [*(job.run for job in self.jobs), *self.waiting]
        if not runs or not self.pace:
            return ""
        mean = sum(self.pace.values()) / len(self.pace)
        seconds = [(self.epochs[run] - self.done[run]) * self.pace.get(run.arm.name, mean) for run in runs]
        return f"about {describe_seconds(max(1, *seconds, sum(seconds) / self.slots))} left"

    def end(self, job: _Job, problem: str) -> None:
        """Report the end of a job."""
        run = job.run
        if problem:
            self.report(run, f"failed: {problem}; the end of {run.log}:")
            for line in _read_tail(run.log):
                logger.info("    %s", line)
            return
        result = run.result()
        self.done[run] = self.epochs[run]
        self.pace[run.arm.name] = result["wall_s"] / result["epochs"]
        took = describe_seconds(time.monotonic() - job.start)
        score = f"{find_headline([result]).name} {result['score']:.4f}"
        self.report(run, f"{score} after {result['epochs']} epochs ({took})", self._time_left())

    def report(self, run: Run, *what: str) -> None:
        """Log the end of a run."""
        self.ended += 1
        self._log(f"[{self.ended}/{self.total}] {run.name}: {what[0]}", *what[1:])

    def _log(self, *parts: str) -> None:
        logger.info("%s", "; ".join(filter(None, parts)))
        self.last_line = time.monotonic()
