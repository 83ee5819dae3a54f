"""Where a run goes on from, and whether it may."""

import logging
from pathlib import Path
from typing import Any

from ppcls_lite.config import Config, flatten
from ppcls_lite.engine.run_dir import PROGRESS, RunDir, verify_checkpoint
from ppcls_lite.errors import UserError

logger = logging.getLogger(__name__)


def find_resume_point(config: Config, run_dir: RunDir) -> Path | None:
    """The checkpoint folder to go on from, or None for a fresh start.

    Raises:
        UserError: the run folder is in use and not to be resumed, or belongs to another configuration.
    """
    run = config.Global
    if run.checkpoints:
        if run_dir.is_used():
            raise UserError(_in_use(run_dir))
        return find_checkpoint(run.checkpoints)
    if not run_dir.is_used():
        return None
    if run.resume is None:
        raise UserError(_in_use(run_dir))
    check_same_settings(config, run_dir)
    return _newest_whole(run_dir)


def _newest_whole(run_dir: RunDir) -> Path | None:
    """The newest checkpoint whose checksums are right, or None where there is no checkpoint.

    Raises:
        UserError: there are some, and all are damaged.
    """
    damage: list[str] = []
    for folder in reversed(run_dir.list_checkpoints()):
        try:
            verify_checkpoint(folder)
        except UserError as error:
            damage.append(str(error))
            continue
        for reason in damage:
            logger.warning("warning: %s; going on from %s", reason, folder.name)
        return folder
    if damage:
        raise UserError(
            f"no checkpoint of {run_dir.path} is whole: {'; '.join(damage)}; "
            f"restore one, or begin anew with -o Global.output_dir=FOLDER"
        )
    return None


def finished_result(config: Config, run_dir: RunDir) -> dict[str, Any] | None:
    """What a finished run of this configuration found, or None where there is none.

    Raises:
        UserError: the run folder belongs to another configuration.
    """
    result = run_dir.result()
    if result is not None:
        check_same_settings(config, run_dir)
    return result


def check_same_settings(config: Config, run_dir: RunDir, elsewhere: str = "another Global.output_dir") -> None:
    """Refuse a used run folder that another configuration has made.

    Raises:
        UserError: naming what differs; ``elsewhere`` is what to choose instead.
    """
    theirs = run_dir.config()
    if theirs is None:
        raise UserError(_in_use(run_dir))
    was, now = flatten(theirs), flatten(config.outcome_dict())
    changed = [f"{key} was {was.get(key)}, is {value}" for key, value in now.items() if was.get(key) != value]
    if changed:
        raise UserError(
            f"{run_dir.path} was made with other settings ({', '.join(changed)}); restore them, or choose {elsewhere}"
        )


def _in_use(run_dir: RunDir) -> str:
    return (
        f"Global.output_dir {run_dir.path} is not empty; "
        f"-o Global.resume=auto continues a run, -o Global.output_dir=FOLDER starts one elsewhere"
    )


def find_checkpoint(path: str | Path) -> Path:
    """The checkpoint folder that ``path`` means: itself, or the newest whole one of a run folder.

    Raises:
        UserError: neither, or damaged.
    """
    path = Path(path).expanduser()
    if (path / PROGRESS).is_file():
        verify_checkpoint(path)
        return path
    found = _newest_whole(RunDir(path))
    if found is None:
        raise UserError(f"{path} holds no checkpoint; name a run folder or one of its checkpoints/epoch_NNNN folders")
    return found
