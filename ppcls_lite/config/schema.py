"""The one schema of a run, and its loading: YAML with ``_BASE_``, overrides ``a.b=value``, strict and typed.

Sections carry PaddleClas's names. Every mistake is one sentence that names the file or option, the key, and the nearest
right word. Nothing here imports paddle.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml

from ppcls_lite.config import files as config_files
from ppcls_lite.config.catalog import DATASETS, MODELS, TASKS
from ppcls_lite.config.options import (
    ADDED,
    Fraction,
    NonNegative,
    NonNegativeFloat,
    Positive,
    PositiveFloat,
    Range,
    Seed,
    Workers,
    coerce,
)
from ppcls_lite.utils.errors import UserError, nearest
from ppcls_lite.utils.text import show


def option(default: Any, doc: str) -> Any:
    """A field with its documentation, from which the reference of the configuration is made."""
    return field(default=default, metadata={"doc": doc})


@dataclass(frozen=True)
class Global:
    """The run as a whole."""

    name: str = option("", "name of the run in results; by default the config's file name")
    device: Literal["auto", "gpu", "cpu"] = option("auto", "auto takes the GPU where there is one, and says so")
    epochs: Annotated[int, Range(low=1, high=100_000)] = option(10, "passes over the training images")
    seed: Seed = option(0, "of initialisation, data order and augmentation")
    output_dir: str = option("", "the run's own folder; by default output/NAME")
    eval_interval: Positive = option(1, "score every so many epochs; the last epoch always is")
    save_interval: Positive = option(1, "checkpoint every so many epochs; the last epoch always is")
    pretrained_model: str | None = option(
        None, "weights to start from or to score: a run folder, a .pdparams or .safetensors file"
    )
    checkpoints: str | None = option(None, "begin from the state of another run: its folder, or one of its checkpoints")
    resume: Literal["auto"] | None = option(None, "auto continues what is in output_dir, or starts where nothing is")
    sync_batch_norm: bool = option(False, "several GPUs: batch statistics over all processes, not in each")
    use_visualdl: bool = option(True, "write VisualDL records to output_dir/vdl")


@dataclass(frozen=True)
class DataLoader:
    """Images, their preparation and augmentation. Other keys are options of the data set."""

    dataset: str = option("digits", "data set")
    root: str | None = option(None, "archive or folder; by default PPCLS_DATA, then Paddle's cache, then a download")
    batch_size: Positive = option(128, "images per process and training step")
    eval_batch_size: Positive = option(256, "images per step when scoring; does not change the scores")
    image_size: Positive | None = option(
        None, "side of the network's input in pixels; null: as stored, 224 for images on disk"
    )
    normalize: bool = option(True, "subtract mean, divide by std; false leaves [0, 1]")
    mean: Annotated[tuple[Fraction, ...] | None, ADDED] = option(
        None, "of each channel in [0, 1]; null: the data set's own, else ImageNet's"
    )
    std: Annotated[tuple[PositiveFloat, ...] | None, ADDED] = option(None, "like mean")
    crop_padding: NonNegative = option(0, "random crop after padding each side by so many pixels; 0 for none")
    flip: bool = option(False, "mirror half of the training images")
    drop_last: bool = option(True, "leave out a last training batch that is not full; scoring never leaves any out")
    val_fraction: Fraction = option(0.0, "share of the training images set aside for validation, class-balanced")
    test_fraction: Annotated[Fraction, ADDED] = option(
        0.0, "share of the images set aside for testing, class-balanced, where the data set has no test images"
    )
    train_subset: Positive | None = option(None, "train on so many of the training images, class-balanced")
    test_subset: Positive | None = option(None, "score on so many of the test images, class-balanced; for trials only")
    split_seed: Seed = option(0, "chooses validation and subset images; not Global.seed, so that seeds share them")
    num_workers: Annotated[Workers, ADDED] = option(2, "processes that decode images on disk; 0 for none")
    on_bad_image: Annotated[Literal["error", "skip"], ADDED] = option(
        "error", "skip leaves out files that are no images, and counts them in the result"
    )
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class LearningRate:
    """The learning rate over time; it changes with every step."""

    name: Literal["Constant", "Step", "Cosine"] = option("Constant", "schedule")
    learning_rate: PositiveFloat = option(1e-3, "the highest value")
    base_batch_size: Positive | None = option(
        None, "images a step over all processes that learning_rate is meant for; it is scaled in proportion"
    )
    warmup_epochs: NonNegativeFloat = option(0.0, "linear rise from 0 over so many epochs")
    decay_epochs: tuple[Positive, ...] = option((), "Step: multiply by gamma after each of these epochs")
    gamma: Fraction = option(0.1, "Step: the factor")


@dataclass(frozen=True)
class Optimizer:
    """The optimizer, its regularisation and schedule."""

    name: Literal["Adam", "AdamW", "Momentum"] = option("Adam", "optimizer; Momentum is SGD with momentum")
    momentum: Fraction = option(0.9, "Momentum: the momentum")
    use_nesterov: bool = option(False, "Momentum: Nesterov's variant")
    weight_decay: NonNegativeFloat = option(0.0, "L2 penalty (Adam, Momentum) or decoupled decay (AdamW)")
    decay_norm_and_bias: bool = option(False, "apply weight decay to batch norm and biases, too")
    lr: LearningRate = field(default_factory=LearningRate)


@dataclass(frozen=True)
class Loss:
    """Cross entropy."""

    label_smoothing: Fraction = option(0.0, "share of the target spread over all classes, in training only")


@dataclass(frozen=True)
class AMP:
    """Automatic mixed precision (float16, level O1) on GPU; on CPU it is announced and left out."""

    use_amp: bool = option(False, "train in mixed precision")
    scale_loss: PositiveFloat = option(32768.0, "first factor of the loss")
    use_dynamic_loss_scaling: bool = option(True, "adapt the factor")


@dataclass(frozen=True)
class Config:
    """One run.

    ``Arch`` is a model's name and its options, as ``ppcls_lite.arch.build_model`` takes them; ``num_classes`` and
    ``in_channels`` are missing where the data set decides (``tasks.setup``). ``Heads`` are the tasks by name; without
    one the network learns the classes of the data set.
    """

    Arch: dict[str, Any]
    Heads: dict[str, dict[str, Any]]
    Global: Global
    DataLoader: DataLoader
    Optimizer: Optimizer
    Loss: Loss
    AMP: AMP

    @property
    def arch_options(self) -> dict[str, Any]:
        """The options of the network, without its name."""
        return {key: value for key, value in self.Arch.items() if key != "name"}

    def to_dict(self) -> dict[str, Any]:
        """Plain nested dictionaries, every default filled in: a config file that makes the same run."""
        tree = _plain(dataclasses.asdict(self))
        tree["DataLoader"].update(tree["DataLoader"].pop("options"))
        return tree if self.Heads else {key: value for key, value in tree.items() if key != "Heads"}

    def to_yaml(self) -> str:
        """:meth:`to_dict` as YAML."""
        return yaml.safe_dump(self.to_dict(), sort_keys=False)

    def outcome_dict(self) -> dict[str, Any]:
        """What decides the outcome: :meth:`to_dict` without names, places and what is shown."""
        result = self.to_dict()
        for section, keys in _NO_OUTCOME.items():
            for key in keys:
                del result[section][key]
        return result

    def sha256(self) -> str:
        """Fingerprint of :meth:`outcome_dict`; settings marked ``ADDED`` count only where they are not the default."""
        outcome = self.outcome_dict()
        for section, added in _added_settings(self).items():
            for key, default in added.items():
                if outcome[section].get(key) == default:
                    outcome[section].pop(key, None)
        return hashlib.sha256(json.dumps(outcome, sort_keys=True).encode()).hexdigest()


_NO_OUTCOME = {
    "Global": ["name", "device", "output_dir", "save_interval", "checkpoints", "resume", "use_visualdl"],
    "DataLoader": ["root", "num_workers"],
}
SECTIONS = {"Global": Global, "DataLoader": DataLoader, "Optimizer": Optimizer, "Loss": Loss, "AMP": AMP}


def load(path: str | Path, overrides: Iterable[str] = ()) -> Config:
    """Read a config file, apply overrides, check everything.

    Args:
        path: YAML; ``_BASE_: other.yaml`` (or a list) inherits, relative to the file.
        overrides: ``section.key=value`` each, the value in YAML.

    Raises:
        UserError: one sentence that names the file, the key and what was expected.
    """
    path = Path(path)
    overrides = list(overrides)
    raw = config_files.read_with_bases(path)
    for override in overrides:
        config_files.apply_override(raw, override)
    with naming(path, overrides):
        return build(raw, path.stem)


@contextlib.contextmanager
def naming(path: str | Path, overrides: Iterable[str]) -> Iterator[None]:
    """Put the override that is at fault, else the file, before the message of a UserError."""
    try:
        yield
    except UserError as error:
        at_fault = [f"-o {o}" for o in overrides if str(error).startswith(o.partition("=")[0].strip())]
        raise UserError(f"{at_fault[-1] if at_fault else path}: {error}") from None


def build(raw: dict[str, Any], name: str) -> Config:
    """A checked :class:`Config` from nested dictionaries; ``name`` is the run's name where it has none.

    Raises:
        UserError: unknown section or key, wrong type or value, or values that do not go together.
    """
    known = ("Arch", "Heads", *SECTIONS)
    for section in raw:
        if section not in known:
            raise UserError(f"{section} is not a section; {nearest(section, known)}")
    raw = {**raw, "DataLoader": _gather_options(raw.get("DataLoader", {}))}
    sections = {key: _build_section(cls, raw.get(key, {}), key) for key, cls in SECTIONS.items()}
    run = sections["Global"]
    run = dataclasses.replace(run, name=run.name or name)
    if not run.output_dir:
        run = dataclasses.replace(run, output_dir=os.path.join("output", run.name))
    sections["Global"] = run
    config = Config(Arch=_build_arch(raw.get("Arch", {})), Heads=_build_heads(raw.get("Heads", {})), **sections)
    _check_together(config)
    return config


def _build_section(cls: type, raw: Any, key: str) -> Any:
    if not isinstance(raw, dict):
        raise UserError(f"{key} is {show(raw)}, expected keys with values")
    fields = {f.name: f for f in dataclasses.fields(cls)}
    values = {}
    for name, value in raw.items():
        if name not in fields:
            raise UserError(f"{key}.{name} is not a setting; {nearest(name, fields)}")
        if dataclasses.is_dataclass(fields[name].type):
            values[name] = _build_section(fields[name].type, value, f"{key}.{name}")
        elif name == "options":
            values[name] = value
        else:
            values[name] = coerce(value, fields[name].type, f"{key}.{name}")
    return cls(**values)


def _gather_options(raw: Any) -> Any:
    """The section ``DataLoader`` with the options of its data set under ``options``, all filled in and checked."""
    if not isinstance(raw, dict):
        return raw
    name = coerce(raw.get("dataset", "digits"), str, "DataLoader.dataset")
    if name not in DATASETS.names():
        expected = ", ".join(map(repr, DATASETS.names()))
        hint = nearest(name, DATASETS.names())
        hint = f"; {hint}" if "did you mean" in hint else ""
        raise UserError(f"DataLoader.dataset is {show(name)}, expected one of {expected}{hint}")
    known = {key: option for key, option in DATASETS.entry(name).options.items() if key != "root"}
    given = {key: raw[key] for key in known if key in raw}
    options = {key: option.default for key, option in known.items()}
    options.update(DATASETS.check_options(name, given, prefix="DataLoader."))
    rest = {key: value for key, value in raw.items() if key not in known}
    others = [field.name for field in dataclasses.fields(DataLoader) if field.name != "options"]
    for key in rest:
        if key not in others:
            raise UserError(f"DataLoader.{key} is not a setting; {nearest(key, [*others, *known])}")
    return {**rest, "options": options}


def _build_heads(raw: Any) -> dict[str, dict[str, Any]]:
    """The heads with their tasks' options checked; ``column`` is the head's own name where it is not given."""
    if not isinstance(raw, dict):
        raise UserError(f"Heads is {show(raw)}, expected names of heads, each with a task")
    heads = {}
    for name, head in raw.items():
        key = f"Heads.{name}"
        if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z]\w{0,39}", name):
            raise UserError(f"Heads: {show(name)} is no name of a head; expected letters, digits and _, of up to 40")
        if not isinstance(head, dict) or "task" not in head:
            raise UserError(f"{key}.task is missing; set it to one of {', '.join(TASKS.names())}")
        task = coerce(head["task"], str, f"{key}.task")
        if task not in TASKS.names():
            raise UserError(f"{key}.task is {show(task)}; {nearest(task, TASKS.names())}")
        column = coerce(head.get("column", name), str, f"{key}.column")
        given = {option: value for option, value in head.items() if option not in ("task", "column")}
        heads[name] = {"task": task, "column": column, **TASKS.check_options(task, given, f"{key}.")}
    if len(heads) > 1:
        raise UserError(f"Heads has {len(heads)} heads ({', '.join(heads)}), expected one")
    return heads


def _build_arch(raw: Any) -> dict[str, Any]:
    if not isinstance(raw, dict) or "name" not in raw:
        raise UserError("Arch.name is missing; set it to one of the models that tools/summary.py --list prints")
    name = coerce(raw["name"], str, "Arch.name")
    given = {key: value for key, value in raw.items() if key != "name"}
    if "pretrained" in given:
        raise UserError("Arch.pretrained is not a setting; name the weights in Global.pretrained_model")
    try:
        defaults = {key: value.default for key, value in MODELS.entry(name).options.items()}
    except UserError as error:
        raise UserError(f"Arch.name: {error}") from None
    for key in ("num_classes", "in_channels"):
        defaults.pop(key, None)
    return {"name": name, **defaults, **MODELS.check_options(name, given, prefix="Arch.")}


def _check_together(config: Config) -> None:
    lr, run, data = config.Optimizer.lr, config.Global, config.DataLoader
    if "/" in run.name or "\0" in run.name + run.output_dir or len(run.name) > 100:
        raise UserError(f"Global.name is {show(run.name)}, expected a name of at most 100 characters without slashes")
    for key in ("val_fraction", "test_fraction"):
        if getattr(data, key) == 1:
            raise UserError(f"DataLoader.{key} is 1, which leaves nothing to train on; expected below 1")
    if (data.mean is None) != (data.std is None):
        raise UserError("DataLoader.mean and DataLoader.std belong together; give both or none")
    if lr.name == "Step" and not lr.decay_epochs:
        raise UserError("Optimizer.lr.name is Step, but Optimizer.lr.decay_epochs is empty; list the epochs")
    if lr.name != "Step" and lr.decay_epochs:
        raise UserError(f"Optimizer.lr.decay_epochs belongs to Step, but Optimizer.lr.name is {lr.name}")
    inside = all(lr.warmup_epochs <= epoch < run.epochs for epoch in lr.decay_epochs)
    if list(lr.decay_epochs) != sorted(set(lr.decay_epochs)) or not inside:
        raise UserError(
            f"Optimizer.lr.decay_epochs is {list(lr.decay_epochs)}, expected rising epochs "
            f"from warmup_epochs {lr.warmup_epochs:g} to below Global.epochs {run.epochs}"
        )
    if lr.warmup_epochs >= run.epochs:
        raise UserError(
            f"Optimizer.lr.warmup_epochs is {lr.warmup_epochs:g}, expected less than Global.epochs {run.epochs}"
        )
    if config.Optimizer.use_nesterov and config.Optimizer.name != "Momentum":
        raise UserError(f"Optimizer.use_nesterov belongs to Momentum, but Optimizer.name is {config.Optimizer.name}")


def _added_settings(config: Config) -> dict[str, dict[str, Any]]:
    """By section, the settings that are marked ``ADDED`` and their defaults."""
    fields = {
        section: {f.name: (f.type, f.default) for f in dataclasses.fields(cls)} for section, cls in SECTIONS.items()
    }
    for section, options in (
        ("Arch", MODELS.entry(config.Arch["name"]).options),
        ("DataLoader", DATASETS.entry(config.DataLoader.dataset).options),
    ):
        fields.setdefault(section, {}).update({name: (one.annotation, one.default) for name, one in options.items()})
    return {
        section: {
            name: default for name, (kind, default) in known.items() if ADDED in getattr(kind, "__metadata__", ())
        }
        for section, known in fields.items()
    }


def fill_in_defaults(saved: dict[str, Any]) -> dict[str, Any]:
    """A configuration as an earlier version wrote it, flat, with the default of each setting that it lacks."""
    defaults = flatten(_plain({section: dataclasses.asdict(cls()) for section, cls in SECTIONS.items()}))
    saved = flatten(saved)
    for section, catalog, key in (("Arch", MODELS, "name"), ("DataLoader", DATASETS, "dataset")):
        name = saved.get(f"{section}.{key}")
        if name in catalog.names():
            options = catalog.entry(name).options
            defaults.update({f"{section}.{one}": option.default for one, option in options.items()})
    return {**defaults, **saved}


def flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dictionaries as one with dotted keys: ``{"Global.seed": 0, ...}``, the keys that ``-o`` takes."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat.update(flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value})
    return flat


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return list(value) if isinstance(value, tuple) else value
