"""``run_ablation``: trains the arms of a protocol with every seed and fold, and writes the report."""

import logging
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from ppcls_lite.ablation.execute import execute, write_graphs
from ppcls_lite.ablation.machine import choose_threads, plan_slots
from ppcls_lite.ablation.protocol import Protocol
from ppcls_lite.ablation.record import Record, make_record
from ppcls_lite.ablation.rows import Headline, join_headlines
from ppcls_lite.ablation.runs import Run, plan_runs
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
    """Start or continue the ablation in ``output`` and write its report; returns the runs that failed.

    Args:
        protocol: arms, groups, seeds, folds.
        output: the ablation's folder.
        arms: names of groups and arms; by default all.
        seeds: number of runs of each arm, with the seeds 0 to ``seeds - 1``; by default the protocol's.
        jobs: number of runs side by side; see ``machine.plan_slots``.
        settings: ``SECTION.KEY=VALUE`` for all arms.

    Raises:
        UserError: unknown arms, settings that do not fit, unavailable data, or a folder that holds something else.
    """
    chosen, seeds = [arm.name for arm in protocol.select(arms)], seeds or protocol.seeds
    threads = choose_threads(jobs, len(chosen) * seeds * (protocol.folds or 1))
    record = make_record(protocol, chosen, seeds, threads, settings, output)
    # Runs of earlier calls appear in the same table, so plan_runs checks that they have the same settings.
    known = [protocol.arms[name] for name in record.arms]
    all_runs = plan_runs(known, record.seeds, record.folds, settings, output)
    _check_groups(record, all_runs)
    runs = [run for run in all_runs if run.arm.name in chosen and run.seed < seeds]
    if all(run.error for run in runs):
        raise UserError(runs[0].error)
    setups = [run.setup for run in runs if run.setup and run.result() is None]
    for setup in {(one.config.DataLoader.dataset, one.config.DataLoader.root): one for one in setups}.values():
        cli.import_paddle(computes=False)
        setup.source.fetch()  # here, because runs side by side would all download it
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--output {output} cannot be created: {error.strerror}") from None
    lock = FolderLock(output)
    lock.acquire()
    try:
        record.write(output)
        size = f"{count(len(chosen), 'arm')} x {count(seeds, 'seed')}"
        size += f" x {count(record.folds, 'fold')}" if record.folds else ""
        finished = len(runs) - len(setups) - sum(bool(run.error) for run in runs)
        already = f", {finished} of {len(runs)} runs are already finished" if finished else ""
        logger.info("ablation %s in %s: %s%s", protocol.name, output, size, already)
        if any(setup.config.Global.use_visualdl for setup in setups):
            _log_dashboard(output)
        failed = execute(runs, plan_slots(jobs, setups, record.threads) if setups else [])
        write_graphs(runs)
        from ppcls_lite.ablation.report import write_report  # matplotlib takes a second to import

        print(f"\n{write_report(output)}\n", flush=True)
    finally:
        lock.release()
    if any(run.config.Global.use_visualdl for run in runs if run.config):
        _log_dashboard(output)
    if failed:
        names = ", ".join(run.name for run in failed)
        logger.info("%d of %d runs failed: %s; the same command tries them again", len(failed), len(runs), names)
    return failed


def _check_groups(record: Record, runs: Sequence[Run]) -> None:
    """Check that the arms of each group can be compared.

    Raises:
        UserError: their headlines differ in unit or direction.
    """
    metrics = {run.arm.name: run.setup.task.headline for run in runs if run.setup}
    for group, members in record.groups.items():
        found = [metrics[arm] for arm in members if arm in metrics]
        try:
            join_headlines(Headline(metric.name, metric.unit, metric.higher_is_better) for metric in found)
        except UserError as error:
            raise UserError(f"group {group}: {error}") from None


def _log_dashboard(output: Path) -> None:
    """Log the command that opens the dashboard, which also works if the virtual environment is not active.

    The folder is absolute because VisualDL's graph page knows the runs by their absolute folders.
    """
    command = Path(sys.executable).with_name("visualdl")
    command = command.relative_to(Path.cwd()) if command.is_relative_to(Path.cwd()) else command
    logger.info("dashboard: %s --logdir %s --host 127.0.0.1", command, shlex.quote(str(output.absolute())))
