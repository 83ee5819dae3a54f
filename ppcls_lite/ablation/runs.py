"""The runs of an ablation: one for each arm and seed, in a folder of its own."""

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


@dataclass(frozen=True, eq=False)
class Run:
    """One training run; ``settings`` override the arm's config file.

    If the arm is broken, ``setup`` is None and ``error`` says why.
    """

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


def run_folder(output: Path, arm: str, seed: int) -> Path:
    """The folder of a run in the folder of its ablation."""
    return output / arm / f"seed_{seed}"


def plan_runs(arms: Sequence[Arm], seeds: int, settings: Sequence[str], output: Path) -> list[Run]:
    """Every arm with every seed, ordered by seed, so that the runs that are compared work at about the same time.

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
    runs = []
    for seed in range(seeds):
        for arm in arms:
            folder = run_folder(output, arm.name, seed)
            own = {"name": arm.name, "seed": seed, "output_dir": str(folder), "resume": "auto"}
            # JSON is YAML without special characters to quote.
            overrides = (*arm.settings, *settings, *(f"Global.{key}={json.dumps(v)}" for key, v in own.items()))
            setup = setups.get(arm.name)
            if setup is not None:
                config = dataclasses.replace(setup.config, Global=dataclasses.replace(setup.config.Global, **own))
                setup = dataclasses.replace(setup, config=config)
                if RunDir(folder).is_used():
                    check_same_settings(config, RunDir(folder), "another --output")
            log = output / "logs" / f"{arm.name}_seed_{seed}.log"
            runs.append(Run(arm, seed, folder, log, overrides, setup, errors.get(arm.name, "")))
    return runs
