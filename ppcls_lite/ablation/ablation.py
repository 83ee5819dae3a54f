"""``run_ablation``: a protocol's arms and seeds, from nothing to the report."""

import logging
from collections.abc import Sequence
from pathlib import Path

from ppcls_lite.ablation.execute import execute, write_graphs
from ppcls_lite.ablation.machine import plan_slots
from ppcls_lite.ablation.protocol import Protocol
from ppcls_lite.ablation.record import make_record
from ppcls_lite.ablation.runs import Run, plan_runs
from ppcls_lite.engine.lock import FolderLock
from ppcls_lite.errors import UserError
from ppcls_lite.text import count

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
        UserError: unknown arms, settings that do not fit, or a folder that holds something else.
    """
    chosen, seeds = protocol.select(arms), seeds or protocol.seeds
    record = make_record(protocol, [arm.name for arm in chosen], seeds, settings, output)
    runs = plan_runs(chosen, seeds, settings, output)
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--output {output} cannot be made: {error.strerror}") from None
    lock = FolderLock(output)
    lock.acquire()
    try:
        record.write(output)
        failed = _run_all(protocol, runs, output, jobs)
        from ppcls_lite.ablation.report import write_report  # scipy and matplotlib take a second

        print(f"\n{write_report(output)}")
    finally:
        lock.release()
    if failed:
        names = ", ".join(run.name for run in failed)
        logger.info("%d of %d runs failed: %s; the same command tries them again", len(failed), len(runs), names)
    return failed


def _run_all(protocol: Protocol, runs: Sequence[Run], output: Path, jobs: int | None) -> list[Run]:
    to_do = [run for run in runs if run.result() is None]
    arms = len({run.arm.name for run in runs})
    size = f"{count(arms, 'arm')} x {count(len(runs) // arms, 'seed')}"
    logger.info("ablation %s in %s: %s", protocol.name, output, size)
    if len(to_do) < len(runs):
        logger.info("%d of %d runs are finished already", len(runs) - len(to_do), len(runs))
    logger.info("dashboard: visualdl --logdir %s", output)
    cpu_only = all(run.config.Global.device == "cpu" for run in runs if run.config)
    slots = plan_slots(jobs, len(runs), cpu_only) if to_do else [{}]
    failed = execute(runs, slots)
    write_graphs(runs, len(slots))
    return failed
