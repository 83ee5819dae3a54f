"""Making a checked :class:`~ppcls_lite.config.schema.Config` from YAML files and ``SECTION.KEY=VALUE`` overrides.

Every mistake is reported in one sentence that names the file or override, the key, and the nearest valid word. Nothing
here imports paddle.
"""

import contextlib
import dataclasses
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ppcls_lite.config import files as config_files
from ppcls_lite.config.catalog import DATASETS, MODELS, TASKS
from ppcls_lite.config.options import NonNegativeFloat, coerce
from ppcls_lite.config.schema import SECTIONS, Config, DataLoader
from ppcls_lite.utils.errors import UserError, nearest
from ppcls_lite.utils.text import show


def load(path: str | Path, overrides: Iterable[str] = ()) -> Config:
    """Read a config file, apply overrides, check everything.

    Args:
        path: YAML; ``_BASE_: other.yaml`` (or a list) inherits, relative to the file.
        overrides: ``section.key=value`` each, the value in YAML.

    Raises:
        UserError: the message names the file or override, the key and what was expected.
    """
    path = Path(path)
    overrides = list(overrides)
    raw = config_files.read_with_bases(path)
    for override in overrides:
        config_files.apply_override(raw, override)
    with naming(path, overrides):
        return build(raw, path.stem)


@contextlib.contextmanager
def naming(path: str | Path, overrides: Iterable[str] = ()) -> Iterator[None]:
    """Prefix the message of a UserError with the override that caused it, or else with the file."""
    try:
        yield
    except UserError as error:
        causes = [f"-o {o}" for o in overrides if str(error).startswith(o.partition("=")[0].strip())]
        raise UserError(f"{causes[-1] if causes else path}: {error}") from None


def build(raw: dict[str, Any], name: str) -> Config:
    """A checked :class:`Config` from nested dictionaries; ``name`` is the default of ``Global.name``.

    Raises:
        UserError: unknown section or key, wrong type or value, or values that contradict each other.
    """
    known = ("Arch", "Heads", *SECTIONS)
    for section, content in raw.items():
        if section not in known:
            raise UserError(f"{section} is not a section; {nearest(section, known)}")
        _check_mapping(content, section)
    sections = {key: _build_section(cls, raw.get(key, {}), key) for key, cls in SECTIONS.items() if key != "DataLoader"}
    run_name = sections["Global"].name or name
    output_dir = sections["Global"].output_dir or os.path.join("output", run_name)
    sections["Global"] = dataclasses.replace(sections["Global"], name=run_name, output_dir=output_dir)
    config = Config(
        Arch=_build_arch(raw.get("Arch", {})),
        Heads=_build_heads(raw.get("Heads", {})),
        DataLoader=_build_data(raw.get("DataLoader", {})),
        **sections,
    )
    _check_together(config)
    return config


def _check_mapping(raw: Any, key: str) -> None:
    if not isinstance(raw, dict):
        raise UserError(f"{key} is {show(raw)}, expected keys with values")


def _build_section(cls: type, raw: dict[str, Any], key: str, other_keys: Iterable[str] = ()) -> Any:
    """``cls`` from its keys in ``raw``; ``other_keys`` are only suggested for unknown ones."""
    fields = {field.name: field for field in dataclasses.fields(cls) if field.name != "options"}
    values = {}
    for name, value in raw.items():
        if name not in fields:
            raise UserError(f"{key}.{name} is not a setting; {nearest(name, [*fields, *other_keys])}")
        kind = fields[name].type
        if dataclasses.is_dataclass(kind):
            _check_mapping(value, f"{key}.{name}")
            values[name] = _build_section(kind, value, f"{key}.{name}")
        else:
            values[name] = coerce(value, kind, f"{key}.{name}")
    return cls(**values)


def _build_data(raw: dict[str, Any]) -> DataLoader:
    name = coerce(raw.get("dataset", DataLoader.dataset), str, "DataLoader.dataset")
    DATASETS.entry(name, prefix="DataLoader.dataset: ")
    options = DATASETS.defaults(name)
    del options["root"]
    section = _build_section(
        DataLoader, {key: value for key, value in raw.items() if key not in options}, "DataLoader", options
    )
    given = {key: value for key, value in raw.items() if key in options}
    return dataclasses.replace(section, options={**options, **DATASETS.check_options(name, given, "DataLoader.")})


def _build_arch(raw: dict[str, Any]) -> dict[str, Any]:
    if "name" not in raw:
        raise UserError("Arch.name is missing; set it to one of the models that tools/summary.py --list prints")
    if "pretrained" in raw:
        raise UserError("Arch.pretrained is not a setting; name the weights in Global.pretrained_model")
    name = coerce(raw["name"], str, "Arch.name")
    MODELS.entry(name, prefix="Arch.name: ")
    defaults = MODELS.defaults(name)
    for key in ("num_classes", "in_channels", "in_features"):  # by default the data set's
        defaults.pop(key, None)
    given = {key: value for key, value in raw.items() if key != "name"}
    return {"name": name, **defaults, **MODELS.check_options(name, given, "Arch.")}


# Names that metrics.csv and tables of predictions use themselves, beside those of several heads.
_RESERVED = ("ema", "exact", "image", "label", "loss", "prediction", "row")
_COLUMNS_OF_HEADS = ("_probability", "_macro")  # begin names of such columns, after the head's name


def _build_heads(raw: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The heads with checked options of their tasks; ``column`` is by default the head's name."""
    heads = {}
    for name, head in raw.items():
        key = f"Heads.{name}"
        if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z]\w{0,39}", name):
            raise UserError(f"Heads: {show(name)} is not a valid name; expected at most 40 letters, digits and _")
        if len(raw) > 1 and name in _RESERVED:
            raise UserError(f"Heads: {name} is a column of tables of results; choose another name for the head")
        _check_mapping(head, key)
        if "task" not in head:
            raise UserError(f"{key}.task is missing; set it to one of {', '.join(TASKS.names())}")
        task = coerce(head["task"], str, f"{key}.task")
        TASKS.entry(task, prefix=f"{key}.task: ")
        column = coerce(head.get("column", name), str, f"{key}.column")
        given = {option: value for option, value in head.items() if option not in ("task", "column", "weight")}
        weight = {"weight": coerce(head["weight"], NonNegativeFloat, f"{key}.weight")} if "weight" in head else {}
        heads[name] = {"task": task, "column": column, **weight, **TASKS.check_options(task, given, f"{key}.")}
    if len(heads) == 1 and "weight" in heads[name]:
        raise UserError(f"{key}.weight is for several heads, and {name} is the only one; leave it out")
    if len(heads) > 1 and not any(head.get("weight", 1) for head in heads.values()):
        raise UserError("Heads: the weight of each head is 0, so nothing would be learned; set one above 0")
    for name in heads:
        owner = next((one for one in heads if name.startswith(tuple(one + end for end in _COLUMNS_OF_HEADS))), None)
        if owner is not None:
            raise UserError(f"Heads: {name} may be a column of results of the head {owner}; choose another name for it")
    return heads


def _check_fold(data: DataLoader) -> None:
    if data.fold is None:
        return
    parsed = re.fullmatch(r"([1-9]\d{0,3})/([1-9]\d{0,3})", data.fold, re.ASCII)
    if not parsed or not int(parsed[1]) <= int(parsed[2]) or parsed[2] == "1":
        raise UserError(
            f"DataLoader.fold is {show(data.fold)}, expected the fold and the number of folds, at least 2, such as 1/5"
        )
    if data.test_fraction:
        raise UserError("DataLoader.fold and DataLoader.test_fraction are both given; leave one out")


def _check_together(config: Config) -> None:
    lr, run, data = config.Optimizer.lr, config.Global, config.DataLoader
    if "/" in run.name or "\0" in run.name + run.output_dir or len(run.name) > 100:
        raise UserError(f"Global.name is {show(run.name)}, expected a name of at most 100 characters without slashes")
    for key in ("val_fraction", "test_fraction"):
        if getattr(data, key) == 1:
            raise UserError(f"DataLoader.{key} is 1, which leaves no training images; expected below 1")
    _check_fold(data)
    if (data.mean is None) != (data.std is None):
        raise UserError("DataLoader.mean and DataLoader.std belong together; set both or none")
    if run.ema_decay == 1:
        raise UserError("Global.ema_decay is 1, which keeps the initial weights; expected below 1, such as 0.999")
    if lr.name == "Step" and not lr.decay_epochs:
        raise UserError("Optimizer.lr.name is Step, but Optimizer.lr.decay_epochs is empty; list the epochs")
    if lr.name != "Step" and lr.decay_epochs:
        raise UserError(f"Optimizer.lr.decay_epochs belongs to Step, but Optimizer.lr.name is {lr.name}")
    inside = all(lr.warmup_epochs <= epoch < run.epochs for epoch in lr.decay_epochs)
    if list(lr.decay_epochs) != sorted(set(lr.decay_epochs)) or not inside:
        raise UserError(
            f"Optimizer.lr.decay_epochs is {list(lr.decay_epochs)}, expected increasing epochs "
            f"from warmup_epochs {lr.warmup_epochs:g} to below Global.epochs {run.epochs}"
        )
    if lr.warmup_epochs >= run.epochs:
        raise UserError(
            f"Optimizer.lr.warmup_epochs is {lr.warmup_epochs:g}, expected less than Global.epochs {run.epochs}"
        )
    if config.Optimizer.use_nesterov and config.Optimizer.name != "Momentum":
        raise UserError(f"Optimizer.use_nesterov belongs to Momentum, but Optimizer.name is {config.Optimizer.name}")
