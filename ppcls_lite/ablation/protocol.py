"""Protocols: the arms of an ablation, their groups, and the numbers of seeds and folds, from a YAML file."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ppcls_lite.config import files as config_files
from ppcls_lite.config.load import naming
from ppcls_lite.config.options import Folds, Seeds, coerce
from ppcls_lite.tasks.setup import Setup, load_setup
from ppcls_lite.utils.errors import UserError, nearest
from ppcls_lite.utils.text import show

FOLDER = Path(__file__).resolve().parents[2] / "configs" / "ablations"
KEYS = ("seeds", "folds", "set", "arms", "groups")

# Settings that belong to a single run; the ablation sets them itself.
OWN_SETTINGS = ("Global.name", "Global.seed", "Global.output_dir", "Global.resume", "Global.checkpoints")


@dataclass(frozen=True)
class Arm:
    """One configuration that is compared: a config file and settings that override it."""

    name: str
    config: Path
    settings: tuple[str, ...] = ()

    def load(self, settings: Sequence[str] = ()) -> Setup:
        """Its setup; ``settings`` override its own.

        Raises:
            UserError: see ``load_setup``; without ``settings`` the message names the arm.
        """
        try:
            return load_setup(self.config, [*self.settings, *settings])
        except UserError as error:
            raise UserError(str(error) if settings else f"arm {self.name}: {error}") from None


@dataclass(frozen=True)
class Protocol:
    """Arms by name; each group lists the names of arms, first the baseline, which the others are compared with.

    With ``folds``, each arm and seed is run once for each fold of cross-validation (``DataLoader.fold``).
    """

    name: str
    seeds: int
    arms: dict[str, Arm]
    groups: dict[str, tuple[str, ...]]
    folds: int | None = None

    def select(self, names: Sequence[str]) -> list[Arm]:
        """The arms in ``names``, which are groups or arms, in the protocol's order; without names, all arms.

        Raises:
            UserError: unknown name.
        """
        chosen: set[str] = set() if names else set(self.arms)
        for name in names:
            if name not in self.groups and name not in self.arms:
                known = [*self.groups, *self.arms]
                raise UserError(f"--arms: {self.name} has no group or arm {name!r}; {nearest(name, known)}")
            chosen.update(self.groups.get(name, (name,)))
        return [arm for name, arm in self.arms.items() if name in chosen]


def list_protocols() -> list[str]:
    """Names of the protocols in configs/ablations."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml") if path.name[0] != "_")


def load_protocols(name: str) -> list[Protocol]:
    """Read configs/ablations/NAME.yaml, or a YAML file by its path; one protocol, or several if it lists ``parts``.

    Raises:
        UserError: no such protocol, or a mistake in it or in one of its parts.
    """
    path = Path(name)
    if not name.endswith((".yaml", ".yml")):
        if name not in list_protocols():
            raise UserError(f"no ablation {name!r}; {nearest(name, list_protocols())}, or give the path of a YAML file")
        path = FOLDER / f"{name}.yaml"
    raw = config_files.read_with_bases(path)
    if "parts" not in raw:
        return [_parse_protocol(raw, path)]
    with naming(path):
        parts = _check_parts(raw)
    paths = [path.parent / part for part in parts]
    return [_parse_protocol(config_files.read_with_bases(part), part) for part in paths]


def _check_parts(raw: dict[str, Any]) -> list[str]:
    parts = raw["parts"]
    if len(raw) > 1 or not parts or not _is_list_of_text(parts):
        raise UserError("expected parts alone, a list of protocol files")
    if len({Path(part).stem for part in parts}) < len(parts):
        raise UserError(f"parts is {show(parts)}, expected files of different names")
    return parts


def _parse_protocol(raw: dict[str, Any], path: Path) -> Protocol:
    """A checked protocol; config files are relative to ``path``."""
    with naming(path):
        for key in raw:
            if key not in KEYS:
                raise UserError(f"{key} is not a key of an ablation; {nearest(key, KEYS)}")
        arms, groups = raw.get("arms"), raw.get("groups", {})
        if not isinstance(arms, dict) or not arms or not isinstance(groups, dict):
            raise UserError("expected arms (name: config file) and groups (name: list of arms)")
        shared = check_settings(raw.get("set", []), "set")
        parsed = {name: _parse_arm(name, arm, path.parent, shared) for name, arm in arms.items()}
        for group, members in groups.items():
            _check_group(group, members, parsed)
        seeds = coerce(raw.get("seeds", 1), Seeds, "seeds")
        folds = coerce(raw.get("folds"), Folds | None, "folds")
        named = {group: tuple(members) for group, members in groups.items()}
        return Protocol(path.stem, seeds, parsed, named, folds)


def check_name(name: Any, what: str) -> None:
    """Check the name of an arm or a group, which becomes the name of a folder.

    Raises:
        UserError: not a valid name; the message begins with ``what``.
    """
    if not isinstance(name, str):
        raise UserError(f"{what}: {show(name)} is not text; put the name in quotes")
    if not name.isprintable() or not 1 <= len(name) <= 100 or "/" in name or name.startswith((".", "-")):
        raise UserError(
            f"{what}: {show(name)} is not a valid name; expected at most 100 characters without slashes, "
            f"not starting with . or -"
        )


def _check_group(group: Any, members: Any, arms: dict[str, Arm]) -> None:
    check_name(group, "groups")
    if group in arms:
        raise UserError(f"{group} is both an arm and a group; rename one")
    if not isinstance(members, list) or len(members) < 2:
        raise UserError(f"groups.{group} is {show(members)}, expected a list of at least two arms, the baseline first")
    for i, member in enumerate(members):
        check_name(member, f"groups.{group}")
        if member not in arms:
            raise UserError(f"groups.{group}: {member!r} is not an arm; {nearest(member, arms)}")
        if member in members[:i]:
            raise UserError(f"groups.{group}: {member!r} is listed twice")


def _parse_arm(name: Any, raw: Any, folder: Path, shared: tuple[str, ...]) -> Arm:
    check_name(name, "arms")
    raw = {"config": raw} if isinstance(raw, str) else raw
    if not isinstance(raw, dict) or not isinstance(raw.get("config"), str) or set(raw) - {"config", "set"}:
        raise UserError(f"arms.{name} is {show(raw)}, expected a config file, or a mapping with config and set")
    return Arm(name, folder / raw["config"], shared + check_settings(raw.get("set", []), f"arms.{name}.set"))


def check_settings(settings: Any, what: str) -> tuple[str, ...]:
    """Check a list of ``SECTION.KEY=VALUE`` settings.

    Raises:
        UserError: not a list of text, or a setting that the ablation sets itself.
    """
    if not _is_list_of_text(settings):
        raise UserError(f"{what} is {show(settings)}, expected a list of SECTION.KEY=VALUE")
    for key in (setting.partition("=")[0].strip() for setting in settings):
        if key in OWN_SETTINGS:
            raise UserError(f"{what}: {key} is set by the ablation for each run (see --seeds, --output); remove it")
    return tuple(settings)


def _is_list_of_text(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)
