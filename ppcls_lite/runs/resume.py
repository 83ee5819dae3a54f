"""Where a run goes on from, and whether it may."""

import logging
from pathlib import Path
from typing import Any

from ppcls_lite.config.schema import Config, fill_in_defaults, flatten
from ppcls_lite.runs.run_dir import PROGRESS, SUMS, RunDir, verify_checkpoint
from ppcls_lite.utils.errors import UserError
from ppcls_lite.utils.files import user_path

logger = logging.getLogger(__name__)


def find_resume_point(config: Config, run_dir: RunDir) -> tuple[Path | None, Path | None]:
    """The checkpoint folder to go on from, or None for a fresh start, and the place in another run that it began from.

    Raises:
        UserError: the run folder is in use and not to be resumed, or belongs to another configuration.
    """
    run = config.Global
    origin = user_path(run.checkpoints) if run.checkpoints else None
    if run_dir.is_used():
        if run.resume is None:
            raise UserError(run_dir.in_use())
        check_same_settings(config, run_dir)
        origin = run_dir.origin() or origin
        own = _newest_whole(run_dir)
        if own is not None:
            return own, origin
        if run_dir.weights("last").exists():
            raise UserError(
                f"{run_dir.path} has weights and no checkpoint to go on from; choose another Global.output_dir, and "
                f"start from them with -o Global.pretrained_model={run_dir.path}"
            )
    if origin and run.pretrained_model:
        raise UserError("Global.checkpoints and Global.pretrained_model both say what to begin from; give one")
    return find_checkpoint(origin) if origin else None, origin


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
    changed = changed_settings(config, run_dir)
    if changed is None:
        raise UserError(
            f"Global.output_dir {run_dir.path} is not empty, and its config.yaml is missing or damaged: "
            f"restore that, or choose {elsewhere}"
        )
    if changed:
        raise UserError(
            f"{run_dir.path} was made with other settings ({', '.join(changed)}); restore them, or choose {elsewhere}"
        )


def changed_settings(config: Config, run_dir: RunDir) -> list[str] | None:
    """What differs between ``config`` and the configuration that made the run folder; None where that is not known."""
    theirs = run_dir.config()
    if theirs is None:
        return None
    was, now = fill_in_defaults(theirs), flatten(config.outcome_dict())
    now = {**dict.fromkeys(key for key in was if key.startswith("Heads.")), **now}
    return [f"{key} was {was.get(key)}, is {value}" for key, value in now.items() if was.get(key) != value]


def find_checkpoint(path: str | Path) -> Path:
    """The checkpoint folder that ``path`` means: itself, or the newest whole one of a run folder.

    Raises:
        UserError: neither, or damaged.
    """
    path = user_path(path)
    if (path / PROGRESS).is_file() or (path / SUMS).is_file():
        verify_checkpoint(path)
        return path
    found = _newest_whole(RunDir(path))
    if found is None:
        raise UserError(f"{path} holds no checkpoint; name a run folder or one of its checkpoints/epoch_NNNN folders")
    return found
