"""The runs of an ablation: an arm and a seed each, in a folder of its own."""

import csv
import dataclasses
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

RESUME = "Global.resume=auto"


@dataclass(frozen=True, eq=False)
class Run:
    """One training: ``settings`` replace those of the arm; ``setup`` is None where the arm's own is broken."""

    arm: Arm
    seed: int
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
        """``"octresnet20 seed 1"``."""
        return f"{self.arm.name} seed {self.seed}"

    def result(self) -> dict[str, Any] | None:
        """What result.json holds where the run is finished and was made by this configuration, else None."""
        result = RunDir(self.folder).result()
        same = self.config is not None and changed_settings(self.config, RunDir(self.folder)) == []
        return result if same else None

    def epochs_done(self) -> int:
        """Finished epochs, as metrics.csv counts them."""
        try:
            with open(self.folder / "metrics.csv", newline="") as file:
                return sum(1 for _ in csv.DictReader(file))
        except OSError:
            return 0


def run_folder(output: Path, arm: str, seed: int) -> Path:
    """Where a run lies in the folder of its ablation."""
    return output / arm / f"seed_{seed}"


def plan_runs(arms: Sequence[Arm], seeds: int, settings: Sequence[str], output: Path) -> list[Run]:
    """Every arm with every seed; a seed's arms stand together, so that what is compared runs at the same time.

    Raises:
        UserError: ``settings`` do not fit an arm, or a run was made with other settings before.
    """
    setups, problems = {}, {}
    for arm in arms:
        try:
            arm.load()
        except UserError as error:  # a broken arm does not keep the others from running
            problems[arm.name] = str(error)
        else:
            setups[arm.name] = arm.load(settings)
    return [
        _plan_run(arm, seed, settings, output, setups.get(arm.name), problems.get(arm.name, ""))
        for seed in range(seeds)
        for arm in arms
    ]


def _plan_run(arm: Arm, seed: int, settings: Sequence[str], output: Path, setup: Setup | None, problem: str) -> Run:
    folder = run_folder(output, arm.name, seed)
    own = {"name": arm.name, "seed": seed, "output_dir": str(folder), "resume": "auto"}
    if setup is not None:
        config = dataclasses.replace(setup.config, Global=dataclasses.replace(setup.config.Global, **own))
        setup = dataclasses.replace(setup, config=config)
        run_dir = RunDir(folder)
        if run_dir.is_used():
            check_same_settings(config, run_dir, "another --output")
    # JSON is YAML in which no character has a meaning of its own.
    arguments = (*arm.settings, *settings, *(f"Global.{key}={json.dumps(value)}" for key, value in own.items()))
    return Run(arm, seed, folder, output / "logs" / f"{arm.name}_seed_{seed}.log", arguments, setup, problem)
