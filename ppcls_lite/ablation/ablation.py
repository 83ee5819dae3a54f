"""``run_ablation``: a protocol's arms and seeds, from nothing to the report."""

import logging
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from ppcls_lite.ablation.execute import execute, write_graphs
from ppcls_lite.ablation.machine import choose_threads, plan_slots
from ppcls_lite.ablation.protocol import Protocol
from ppcls_lite.ablation.record import make_record
from ppcls_lite.ablation.runs import Run, plan_runs
from ppcls_lite.tasks.setup import Setup
from ppcls_lite.utils import cli
from ppcls_lite.utils.errors import UserError
from ppcls_lite.utils.lock import FolderLock
from ppcls_lite.utils.text import count

logger = logging.getLogger(__name__)


def run_ablation(
    protocol: Protocol,
    output: Path,
    arms: Sequence[str] = (),
    seeds: int | None = None,
    jobs: int | None = None,
    settings: Sequence[str] = (),
) -> list[Run]:
    """Do what is not finished of the ablation in ``output`` and write its report; returns the runs that failed.

    Args:
        protocol: arms, groups, seeds.
        output: the ablation's folder; one that holds this ablation is continued.
        arms: names of groups and arms; all by default.
        seeds: runs of each arm, with the seeds 0 to ``seeds - 1``; the protocol's number by default.
        jobs: runs side by side; see ``machine.plan_slots``.
        settings: ``SECTION.KEY=VALUE`` for all arms.

    Raises:
        UserError: unknown arms, settings that do not fit, data that cannot be had, a folder that holds something else.
    """
    chosen, seeds = [arm.name for arm in protocol.select(arms)], seeds or protocol.seeds
    record = make_record(protocol, chosen, seeds, choose_threads(jobs, len(chosen) * seeds), settings, output)
    # Runs of earlier calls stand in the same table: they must have been made with the same settings.
    everything = plan_runs([protocol.arms[name] for name in record.arms], record.seeds, settings, output)
    runs = [run for run in everything if run.arm.name in chosen and run.seed < seeds]
    if all(run.error for run in runs):
        raise UserError(runs[0].error)
    to_do = [run.setup for run in runs if run.setup and run.result() is None]
    for setup in {(one.config.DataLoader.dataset, one.config.DataLoader.root): one for one in to_do}.values():
        cli.import_paddle(computes=False)
        setup.source.fetch()  # now, since runs side by side would all download it
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--output {output} cannot be made: {error.strerror}") from None
    lock = FolderLock(output)
    lock.acquire()
    try:
        record.write(output)
        logger.info("ablation %s in %s: %s", protocol.name, output, _describe(runs, to_do))
        failed = _run_all(runs, to_do, output, jobs, record.threads)
        from ppcls_lite.ablation.report import write_report  # scipy and matplotlib take a second

        print(f"\n{write_report(output)}\n", flush=True)
    finally:
        lock.release()
    if any(run.config.Global.use_visualdl for run in runs if run.config):
        logger.info("%s", _dashboard(output))
    if failed:
        names = ", ".join(run.name for run in failed)
        logger.info("%d of %d runs failed: %s; the same command tries them again", len(failed), len(runs), names)
    return failed


def _describe(runs: Sequence[Run], to_do: Sequence[Setup]) -> str:
    arms = len({run.arm.name for run in runs})
    size = f"{count(arms, 'arm')} x {count(len(runs) // arms, 'seed')}"
    finished = len(runs) - len(to_do) - sum(bool(run.error) for run in runs)
    return f"{size}, {finished} of {len(runs)} runs are finished already" if finished else size


def _run_all(runs: Sequence[Run], to_do: Sequence[Setup], output: Path, jobs: int | None, threads: int) -> list[Run]:
    if any(setup.config.Global.use_visualdl for setup in to_do):
        logger.info("%s", _dashboard(output))
    slots = plan_slots(jobs, to_do, threads) if to_do else []
    failed = execute(runs, slots)
    write_graphs(runs, max(1, len(slots)))
    return failed


def _dashboard(output: Path) -> str:
    """How to open the dashboard, also where the virtual environment is not active.

    The graph page knows the runs' names by their absolute folders only.
    """
    command = Path(sys.executable).with_name("visualdl")
    command = command.relative_to(Path.cwd()) if command.is_relative_to(Path.cwd()) else command
    return f"dashboard: {command} --logdir {shlex.quote(str(output.absolute()))} --host 127.0.0.1"
