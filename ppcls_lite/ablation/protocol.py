"""What is compared: a protocol's arms, its groups (the plain network first) and seeds, from a YAML file."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ppcls_lite.config import files as config_files
from ppcls_lite.config.options import Seeds, coerce
from ppcls_lite.tasks.setup import Setup, load_setup
from ppcls_lite.utils.errors import UserError, nearest
from ppcls_lite.utils.text import show

FOLDER = Path(__file__).resolve().parents[2] / "configs" / "ablations"
KEYS = ("seeds", "set", "arms", "groups")

# What tells the runs of an ablation apart, or belongs to one run; the ablation sets it.
OWN_SETTINGS = ("Global.name", "Global.seed", "Global.output_dir", "Global.resume", "Global.checkpoints")


@dataclass(frozen=True)
class Arm:
    """One configuration that is compared: a config file and settings that replace the file's."""

    name: str
    config: Path
    settings: tuple[str, ...] = ()

    def load(self, settings: Sequence[str] = ()) -> Setup:
        """Its setup, ``settings`` over its own.

        Raises:
            UserError: as ``load_setup``; without ``settings`` it names the arm.
        """
        try:
            return load_setup(self.config, [*self.settings, *settings])
        except UserError as error:
            raise UserError(str(error) if settings else f"arm {self.name}: {error}") from None


@dataclass(frozen=True)
class Protocol:
    """``groups`` name arms, the first being what the others are compared with."""

    name: str
    seeds: int
    arms: dict[str, Arm]
    groups: dict[str, tuple[str, ...]]

    def select(self, names: Sequence[str]) -> list[Arm]:
        """The arms that ``names`` of groups and arms mean, in the protocol's order; all of them for no names.

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
    """The protocol of configs/ablations/NAME.yaml, or of a YAML file; several where the file lists ``parts``.

    Raises:
        UserError: no such protocol, or a mistake in it or in one of its parts.
    """
    path = Path(name) if name.endswith((".yaml", ".yml")) else FOLDER / f"{name}.yaml"
    if not name.endswith((".yaml", ".yml")) and name not in list_protocols():
        raise UserError(f"no ablation {name!r}; {nearest(name, list_protocols())}, or name a YAML file")
    with _naming(path):
        parts = _parse_parts(config_files.read_with_bases(path))
    return [_load(path.parent / part) for part in parts] or [_load(path)]


def _parse_parts(raw: dict[str, Any]) -> list[str]:
    if "parts" not in raw:
        return []
    parts = raw["parts"]
    if len(raw) > 1 or not isinstance(parts, list) or not parts or not all(isinstance(part, str) for part in parts):
        raise UserError("expected parts alone, a list of protocol files")
    names = [Path(part).stem for part in parts]
    if len(set(names)) < len(names):
        raise UserError(f"parts is {show(parts)}, expected files of different names")
    return parts


def _load(path: Path) -> Protocol:
    with _naming(path):
        return parse_protocol(config_files.read_with_bases(path), path)


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Put the file before the message of a UserError that does not begin with it."""
    try:
        yield
    except UserError as error:
        text = str(error)
        raise UserError(text if text.startswith(str(path)) else f"{path}: {text}") from None


def parse_protocol(raw: dict[str, Any], path: Path) -> Protocol:
    """A checked protocol; the arms' files are meant relative to ``path``.

    Raises:
        UserError: what is wrong with it.
    """
    for key in raw:
        if key not in KEYS:
            raise UserError(f"{key} is not a key of an ablation; {nearest(key, KEYS)}")
    arms, groups = raw.get("arms"), raw.get("groups", {})
    if not isinstance(arms, dict) or not arms or not isinstance(groups, dict):
        raise UserError("expected arms (name: config file) and groups (name: list of arms)")
    shared = _parse_settings(raw.get("set", []), "set")
    parsed = {name: _parse_arm(name, value, path.parent, shared) for name, value in arms.items()}
    for group, members in groups.items():
        _check_group(group, members, parsed)
    seeds = coerce(raw.get("seeds", 1), Seeds, "seeds")
    return Protocol(path.stem, seeds, parsed, {group: tuple(members) for group, members in groups.items()})


def check_name(name: Any, what: str) -> None:
    """Refuse what is no name of an arm or a group, which become folders.

    Raises:
        UserError: naming ``what``.
    """
    if not isinstance(name, str):
        raise UserError(f"{what}: {show(name)} is no name; put it in quotes")
    if not name.isprintable() or not 1 <= len(name) <= 100 or "/" in name or name.startswith((".", "-")):
        raise UserError(
            f"{what}: {show(name)} is no name; expected one without slashes, of up to 100 characters, "
            f"not beginning with . or -"
        )


def _check_group(group: Any, members: Any, arms: dict[str, Arm]) -> None:
    check_name(group, "groups")
    if group in arms:
        raise UserError(f"{group} is both an arm and a group; rename one")
    if not isinstance(members, list) or len(members) < 2:
        raise UserError(f"groups.{group} is {show(members)}, expected a list of at least two arms, the plain one first")
    for i, member in enumerate(members):
        check_name(member, f"groups.{group}")
        if member not in arms:
            raise UserError(f"groups.{group}: {member!r} is not an arm; {nearest(member, arms)}")
        if member in members[:i]:
            raise UserError(f"groups.{group}: {member!r} stands twice")


def _parse_arm(name: Any, raw: Any, folder: Path, shared: tuple[str, ...]) -> Arm:
    check_name(name, "arms")
    raw = {"config": raw} if isinstance(raw, str) else raw
    if not isinstance(raw, dict) or not isinstance(raw.get("config"), str) or set(raw) - {"config", "set"}:
        raise UserError(f"arms.{name} is {show(raw)}, expected a config file, or its config and what to set")
    return Arm(name, folder / raw["config"], shared + _parse_settings(raw.get("set", []), f"arms.{name}.set"))


def _parse_settings(settings: Any, what: str) -> tuple[str, ...]:
    if not isinstance(settings, list) or not all(isinstance(setting, str) for setting in settings):
        raise UserError(f"{what} is {show(settings)}, expected a list of SECTION.KEY=VALUE")
    check_settings(settings, what)
    return tuple(settings)


def check_settings(settings: Sequence[str], what: str) -> None:
    """Refuse settings that the ablation makes itself.

    Raises:
        UserError: naming the setting.
    """
    for setting in settings:
        key = setting.partition("=")[0].strip()
        if key in OWN_SETTINGS:
            raise UserError(f"{what}: {key} is set by the ablation for each run (see --seeds, --output); leave it out")
