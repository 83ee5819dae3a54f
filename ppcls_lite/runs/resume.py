"""Which checkpoint a run resumes from, and whether its settings allow that."""

import dataclasses
import logging
from pathlib import Path
from typing import Any

from ppcls_lite.config import files as config_files
from ppcls_lite.config.schema import Config, fill_in_defaults, flatten
from ppcls_lite.runs.run_dir import PROGRESS, SUMS, RunDir, verify_checkpoint
from ppcls_lite.utils.errors import UserError
from ppcls_lite.utils.files import user_path

logger = logging.getLogger(__name__)


def own_folder(config_file: str | Path) -> Path | None:
    """The run folder of a file that is a run's config.yaml, or None.

    A run that was killed early has a log but no weights.
    """
    folder = Path(config_file).parent
    marks = (folder / "train.log", folder / "last.pdparams")
    is_run = Path(config_file).name == "config.yaml" and any(mark.is_file() for mark in marks)
    return folder if is_run else None


def use_actual_output_dir(config: Config, config_file: str | Path, overrides: list[str]) -> Config:
    """Set ``output_dir`` to the run folder that holds ``config_file``, unless an override sets it.

    So a run folder that was moved is used where it is; that is logged.
    """
    folder = own_folder(config_file)
    if folder is None or config_files.is_set("Global.output_dir", overrides):
        return config
    stored = config.Global.output_dir
    if folder.resolve() == user_path(stored).resolve():
        return config
    logger.info("Global.output_dir is %s, the folder of %s, instead of %s", folder, config_file, stored)
    return dataclasses.replace(config, Global=dataclasses.replace(config.Global, output_dir=str(folder)))


def find_resume_point(config: Config, run_dir: RunDir) -> tuple[Path | None, Path | None]:
    """The checkpoint folder to resume from (None for a fresh start), and the place in another run where it started.

    Raises:
        UserError: the run folder is not empty and not to be resumed, or belongs to another configuration.
    """
    run = config.Global
    origin = user_path(run.checkpoints) if run.checkpoints else None
    if run_dir.is_used():
        if run.resume is None:
            raise UserError(run_dir.in_use())
        check_same_settings(config, run_dir)
        origin = run_dir.origin() or origin
        own = _newest_undamaged(run_dir)
        if own is not None:
            return own, origin
        if run_dir.weights("last").exists():
            raise UserError(
                f"{run_dir.path} has weights but no checkpoint to resume from; choose another Global.output_dir and "
                f"start from the weights with -o Global.pretrained_model={run_dir.path}"
            )
    if origin and run.pretrained_model:
        raise UserError("Global.checkpoints and Global.pretrained_model both give initial weights; set only one")
    return find_checkpoint(origin) if origin else None, origin


def _newest_undamaged(run_dir: RunDir) -> Path | None:
    """The newest checkpoint with correct checksums, or None if there are no checkpoints.

    Raises:
        UserError: all checkpoints are damaged.
    """
    damage: list[str] = []
    for folder in reversed(run_dir.list_checkpoints()):
        try:
            verify_checkpoint(folder)
        except UserError as error:
            damage.append(str(error))
            continue
        for reason in damage:
            logger.warning("warning: %s; resuming from %s", reason, folder.name)
        return folder
    if damage:
        raise UserError(
            f"all checkpoints of {run_dir.path} are damaged: {'; '.join(damage)}; "
            f"restore one, or start again with -o Global.output_dir=FOLDER"
        )
    return None


def finished_result(config: Config, run_dir: RunDir) -> dict[str, Any] | None:
    """The result of a finished run of this configuration, or None.

    Raises:
        UserError: the run folder belongs to another configuration.
    """
    result = run_dir.result()
    if result is not None:
        check_same_settings(config, run_dir)
    return result


def check_same_settings(config: Config, run_dir: RunDir, elsewhere: str = "another Global.output_dir") -> None:
    """Check that a used run folder was made by the same configuration.

    Args:
        elsewhere: what the message suggests to choose instead.

    Raises:
        UserError: it was not; the message names the settings that differ.
    """
    changed = changed_settings(config, run_dir)
    if changed is None:
        raise UserError(
            f"Global.output_dir {run_dir.path} is not empty, and its config.yaml is missing or damaged; "
            f"restore it, or choose {elsewhere}"
        )
    if changed:
        raise UserError(
            f"{run_dir.path} was made with other settings ({', '.join(changed)}); restore them, or choose {elsewhere}"
        )


def changed_settings(config: Config, run_dir: RunDir) -> list[str] | None:
    """The differences between ``config`` and the run folder's configuration; None if that is unreadable."""
    theirs = run_dir.config()
    if theirs is None:
        return None
    was, now = fill_in_defaults(theirs), flatten(config.outcome_dict())
    now = {**dict.fromkeys(key for key in was if key.startswith("Heads.")), **now}
    return [f"{key} was {was.get(key)}, is {value}" for key, value in now.items() if was.get(key) != value]


def find_checkpoint(path: str | Path) -> Path:
    """The checkpoint folder ``path``, or the newest undamaged one of the run folder ``path``.

    Raises:
        UserError: it is neither, or it is damaged.
    """
    path = user_path(path)
    if (path / PROGRESS).is_file() or (path / SUMS).is_file():
        verify_checkpoint(path)
        return path
    found = _newest_undamaged(RunDir(path))
    if found is None:
        raise UserError(f"{path} holds no checkpoint; name a run folder or one of its checkpoints/epoch_NNNN folders")
    return found
