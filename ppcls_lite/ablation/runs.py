"""The runs of an ablation: one for each arm, seed and fold, in a folder of its own."""

import csv
import dataclasses
import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ppcls_lite.ablation.protocol import Arm
from ppcls_lite.config.schema import Config
from ppcls_lite.runs.resume import changed_settings, check_same_settings
from ppcls_lite.runs.run_dir import RunDir
from ppcls_lite.tasks.setup import Setup
from ppcls_lite.utils.errors import UserError


@dataclass(frozen=True, eq=False)
class Run:
    """One training run; ``settings`` override the arm's config file.

    Args:
        fold: from 1; None without cross-validation.
        setup: None if the arm is broken; then ``error`` says why.
    """

    arm: Arm
    seed: int
    fold: int | None
    folder: Path
    log: Path
    settings: tuple[str, ...]
    setup: Setup | None
    error: str = ""

    @property
    def config(self) -> Config | None:
        return self.setup and self.setup.config

    @property
    def name(self) -> str:
        """``"octresnet20 seed 1"``, ``"octresnet20 seed 1 fold 2"``."""
        return f"{self.arm.name} seed {self.seed}" + (f" fold {self.fold}" if self.fold else "")

    def result(self) -> dict[str, Any] | None:
        """The content of result.json if the run is finished and was made with this configuration, else None."""
        run_dir = RunDir(self.folder)
        same = self.config is not None and changed_settings(self.config, run_dir) == []
        return run_dir.result() if same else None

    def epochs_done(self) -> int:
        """Number of finished epochs, which are the rows of metrics.csv."""
        try:
            with open(self.folder / "metrics.csv", newline="") as file:
                return sum(1 for _ in csv.DictReader(file))
        except OSError:
            return 0


def list_folds(folds: int | None) -> list[int | None]:
    """The folds of each arm and seed, from 1; ``[None]`` without cross-validation."""
    return [None] if folds is None else list(range(1, folds + 1))


def run_folder(output: Path, arm: str, seed: int, fold: int | None) -> Path:
    """The folder of a run in the folder of its ablation."""
    folder = output / arm / f"seed_{seed}"
    return folder if fold is None else folder / f"fold_{fold}"


def plan_runs(arms: Sequence[Arm], seeds: int, folds: int | None, settings: Sequence[str], output: Path) -> list[Run]:
    """Every arm with every seed and fold, so ordered that the runs that are compared work at about the same time.

    Raises:
        UserError: ``settings`` do not fit an arm, or a run was made with other settings before.
    """
    setups: dict[str, Setup] = {}
    errors: dict[str, str] = {}
    for arm in arms:
        try:
            arm.load()
        except UserError as error:  # the other arms can still run
            errors[arm.name] = str(error)
        else:
            setups[arm.name] = arm.load(settings)
            if folds and setups[arm.name].config.DataLoader.fold:
                raise UserError(
                    f"arm {arm.name}: DataLoader.fold is set by the ablation for each run (see folds); remove it"
                )
    runs = []
    for seed, fold, arm in itertools.product(range(seeds), list_folds(folds), arms):
        folder = run_folder(output, arm.name, seed, fold)
        own = {"name": arm.name, "seed": seed, "output_dir": str(folder), "resume": "auto"}
        part = {} if fold is None else {"fold": f"{fold}/{folds}"}
        # JSON is YAML without special characters to quote.
        given = [
            *((f"Global.{key}", v) for key, v in own.items()),
            *((f"DataLoader.{key}", v) for key, v in part.items()),
        ]
        overrides = (*arm.settings, *settings, *(f"{key}={json.dumps(v)}" for key, v in given))
        setup = setups.get(arm.name)
        if setup is not None:
            run, data = setup.config.Global, setup.config.DataLoader
            sections = {"Global": dataclasses.replace(run, **own), "DataLoader": dataclasses.replace(data, **part)}
            config = dataclasses.replace(setup.config, **sections)
            setup = dataclasses.replace(setup, config=config)
            if RunDir(folder).is_used():
                check_same_settings(config, RunDir(folder), "another --output")
        log = output / "logs" / f"{'_'.join(folder.relative_to(output).parts)}.log"
        runs.append(Run(arm, seed, fold, folder, log, overrides, setup, errors.get(arm.name, "")))
    return runs
