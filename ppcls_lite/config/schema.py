"""The settings of a run as frozen dataclasses, their plain form and their fingerprint.

Sections have PaddleClas's names. ``ppcls_lite.config.load`` makes a :class:`Config` from files. Nothing here imports
paddle.
"""

import dataclasses
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import yaml

from ppcls_lite.config.catalog import DATASETS, MODELS
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
)


def option(default: Any, doc: str) -> Any:
    """A field with its documentation, from which docs/configuration.md is made."""
    return field(default=default, metadata={"doc": doc})


@dataclass(frozen=True)
class Global:
    """The run as a whole."""

    name: str = option("", "name of the run in results; by default the name of the config file")
    device: Literal["auto", "gpu", "cpu"] = option("auto", "auto uses the GPU if there is one, and logs the choice")
    epochs: Annotated[int, Range(low=1, high=100_000)] = option(10, "passes over the training images")
    seed: Seed = option(0, "seed for initialisation, data order and augmentation")
    output_dir: str = option("", "the run's own folder; by default output/NAME")
    eval_interval: Positive = option(1, "epochs between evaluations; the last epoch is always evaluated")
    save_interval: Positive = option(1, "epochs between checkpoints; the last epoch is always saved")
    update_freq: Annotated[Positive, ADDED] = option(
        1, "batches whose gradients are averaged for each update, as one batch of so many times the images"
    )
    ema_decay: Annotated[Fraction, ADDED] = option(
        0.0, "decay of a moving average of the weights, which is scored and saved, too, such as 0.999; 0 for none"
    )
    headline: Annotated[str | None, ADDED] = option(
        None, "metric that tables show and that selects the best epoch, such as kind_top1; null: the task's first"
    )
    early_stop_patience: Annotated[Positive | None, ADDED] = option(
        None, "stop after so many epochs without a better score of the validation images; null trains all epochs"
    )
    pretrained_model: str | None = option(
        None,
        "weights to start from, whose head may have other outputs, or to evaluate: a run folder, a .pdparams or "
        ".safetensors file, or imagenet for those that Paddle publishes",
    )
    checkpoints: str | None = option(None, "start from the state of another run: its folder, or one of its checkpoints")
    resume: Literal["auto"] | None = option(None, "auto continues the run in output_dir, or starts a new one there")
    sync_batch_norm: bool = option(False, "with several GPUs, compute batch statistics over all processes")
    to_static: Annotated[bool, ADDED] = option(False, "train on a static graph, made by paddle.jit.to_static")
    use_visualdl: bool = option(True, "write VisualDL records to output_dir/vdl")


@dataclass(frozen=True)
class DataLoader:
    """Images, their preparation and augmentation. Other keys are options of the data set."""

    dataset: str = option("digits", "data set")
    root: str | None = option(None, "archive or folder; by default PPCLS_DATA, then Paddle's cache, then a download")
    batch_size: Positive = option(128, "images per process and training step")
    eval_batch_size: Positive = option(256, "images per evaluation step; does not change the scores")
    image_size: Positive | None = option(
        None, "side of the network's input in pixels; null: as stored, 224 for images on disk"
    )
    normalize: bool = option(True, "subtract mean, divide by std; false leaves [0, 1]")
    mean: Annotated[tuple[Fraction, ...] | None, ADDED] = option(
        None, "mean of each channel in [0, 1]; null: the data set's own, else ImageNet's"
    )
    std: Annotated[tuple[PositiveFloat, ...] | None, ADDED] = option(None, "standard deviation, like mean")
    crop_padding: NonNegative = option(0, "pad each side by this many pixels, then crop at random; 0 turns it off")
    flip: bool = option(False, "mirror half of the training images")
    transforms: Annotated[tuple[str | dict, ...] | None, ADDED] = option(
        None, "transforms of training images in order, such as [RandomResizedCrop, RandomHorizontalFlip]; docs/data.md"
    )
    eval_transforms: Annotated[tuple[str | dict, ...] | None, ADDED] = option(
        None, "transforms in evaluation and prediction, such as [Resize: {size: 256}, CenterCrop: {size: 224}]"
    )
    class_weights: Annotated[Literal["balanced"] | tuple[PositiveFloat, ...] | None, ADDED] = option(
        None, "weight of each class in the training loss, or balanced; scaled to mean 1 over the training images"
    )
    sampler: Annotated[Literal["balanced"] | None, ADDED] = option(
        None, "balanced draws each class equally often; an epoch keeps its length"
    )
    drop_last: bool = option(True, "omit the last training batch if it is not full; evaluation never omits any")
    val_fraction: Fraction = option(0.0, "share of the training images set aside for validation, class-balanced")
    test_fraction: Annotated[Fraction, ADDED] = option(
        0.0, "share of the images set aside for testing, class-balanced, if the data set has no test images"
    )
    fold: Annotated[str | None, ADDED] = option(
        None, "cross-validation: 1/5 tests on the first of five folds and trains on the others, class-balanced"
    )
    train_subset: Positive | None = option(None, "number of training images to use, class-balanced; null for all")
    test_subset: Positive | None = option(
        None, "number of test images to use, class-balanced, for trials; null for all"
    )
    split_seed: Seed = option(0, "seed for choosing validation and subset images, independent of Global.seed")
    num_workers: Annotated[Workers, ADDED] = option(2, "processes that decode images on disk; 0 for none")
    on_bad_image: Annotated[Literal["error", "skip"], ADDED] = option(
        "error", "skip omits files that are not images, and counts them in the result"
    )
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class LearningRate:
    """The learning rate over time; it changes with every step."""

    name: Literal["Constant", "Step", "Cosine"] = option("Constant", "schedule")
    learning_rate: PositiveFloat = option(1e-3, "the highest value")
    base_batch_size: Positive | None = option(
        None, "total images per update that learning_rate is meant for; the rate is scaled in proportion"
    )
    warmup_epochs: NonNegativeFloat = option(0.0, "epochs of linear rise from 0")
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
    backbone_lr_factor: Annotated[NonNegativeFloat, ADDED] = option(
        1.0, "factor of the learning rate of all layers but the head; 0 freezes them, with their batch norm"
    )
    lr: LearningRate = field(default_factory=LearningRate)


@dataclass(frozen=True)
class Table:
    """The layers for a table's numbers and categories, and for an image's features beside them."""

    hidden: Annotated[tuple[Positive, ...], ADDED] = option((8, 4), "units of the layers for the table")
    image_units: Annotated[Positive, ADDED] = option(4, "units of the layer for the image's features")
    joint_units: Annotated[Positive, ADDED] = option(4, "units of the layer for both together")


@dataclass(frozen=True)
class Loss:
    """Cross entropy."""

    label_smoothing: Fraction = option(0.0, "share of the target spread over all classes, in training only")


@dataclass(frozen=True)
class AMP:
    """Automatic mixed precision in training, on GPU; ignored on CPU, with a log line. Weights stay float32."""

    use_amp: bool = option(False, "train in mixed precision")
    level: Annotated[Literal["O1", "O2"], ADDED] = option(
        "O1", "O1: convolutions and matrix products in dtype; O2: all but numerically delicate operations"
    )
    dtype: Annotated[Literal["float16", "bfloat16"], ADDED] = option(
        "float16", "bfloat16 needs no loss scale, and a GPU of compute capability 8.0 or higher"
    )
    scale_loss: PositiveFloat = option(32768.0, "float16: initial loss scale")
    use_dynamic_loss_scaling: bool = option(True, "float16: adapt the loss scale")


SECTIONS = {
    "Global": Global,
    "DataLoader": DataLoader,
    "Optimizer": Optimizer,
    "Loss": Loss,
    "AMP": AMP,
    "Table": Table,
}
# Settings that do not change the outcome of a run.
_NO_OUTCOME = {
    "Global": ["name", "device", "output_dir", "save_interval", "checkpoints", "resume", "use_visualdl"],
    "DataLoader": ["root", "num_workers"],
}


@dataclass(frozen=True)
class Config:
    """The configuration of a run.

    ``Arch`` is a model's name and its options, as ``ppcls_lite.arch.build_model`` takes them; ``num_classes`` and
    ``in_channels`` are absent if the data set determines them (``tasks.setup``). ``Heads`` are the tasks by name;
    without any, the network learns the classes of the data set.
    """

    Arch: dict[str, Any]
    Heads: dict[str, dict[str, Any]]
    Global: Global
    DataLoader: DataLoader
    Optimizer: Optimizer
    Loss: Loss
    AMP: AMP
    Table: Table

    @property
    def arch_options(self) -> dict[str, Any]:
        """The options of the network, without its name."""
        return {key: value for key, value in self.Arch.items() if key != "name"}

    def to_dict(self) -> dict[str, Any]:
        """Plain nested dictionaries with every default filled in, as a config file holds them."""
        tree = to_plain(dataclasses.asdict(self))
        tree["DataLoader"].update(tree["DataLoader"].pop("options"))
        unused = {"Heads"} if not self.Heads else set()
        unused |= {"Table"} if self.Table == Table() else set()
        return {key: value for key, value in tree.items() if key not in unused}

    def to_yaml(self) -> str:
        """:meth:`to_dict` as YAML."""
        return yaml.safe_dump(self.to_dict(), sort_keys=False)

    def outcome_dict(self) -> dict[str, Any]:
        """:meth:`to_dict` without names, places and display, which do not change the outcome."""
        result = {**self.to_dict(), "Table": to_plain(dataclasses.asdict(self.Table))}
        for section, keys in _NO_OUTCOME.items():
            for key in keys:
                del result[section][key]
        return result

    def sha256(self) -> str:
        """Fingerprint of :meth:`outcome_dict`; settings marked ``ADDED`` count only if they differ from the default."""
        outcome = self.outcome_dict()
        for key, annotation, default in _iter_all_settings(self.Arch["name"], self.DataLoader.dataset):
            section, _, name = key.partition(".")
            if ADDED in getattr(annotation, "__metadata__", ()) and outcome[section].get(name) == to_plain(default):
                outcome[section].pop(name, None)
        outcome = {section: content for section, content in outcome.items() if content or section != "Table"}
        return hashlib.sha256(json.dumps(outcome, sort_keys=True).encode()).hexdigest()


def iter_settings(section: type, prefix: str) -> Iterator[tuple[str, dataclasses.Field]]:
    """Dotted key and field of every setting in a section and in the sections inside it."""
    for setting in dataclasses.fields(section):
        if dataclasses.is_dataclass(setting.type):
            yield from iter_settings(setting.type, f"{prefix}{setting.name}.")
        elif setting.name != "options":  # those of the data set, see the catalog
            yield f"{prefix}{setting.name}", setting


def _iter_all_settings(model: Any, dataset: Any) -> Iterator[tuple[str, Any, Any]]:
    """Dotted key, annotation and default of every setting, with the options of the model and the data set, if known."""
    for name, section in SECTIONS.items():
        for key, setting in iter_settings(section, f"{name}."):
            yield key, setting.type, setting.default
    for section, catalog, name in (("Arch", MODELS, model), ("DataLoader", DATASETS, dataset)):
        if name in catalog.names():
            for key, known in catalog.entry(name).options.items():
                yield f"{section}.{key}", known.annotation, known.default


def fill_in_defaults(saved: dict[str, Any]) -> dict[str, Any]:
    """The configuration of an older run, flattened, with the default of each setting that it lacks."""
    saved = flatten(saved)
    settings = _iter_all_settings(saved.get("Arch.name"), saved.get("DataLoader.dataset"))
    return {**{key: to_plain(default) for key, _, default in settings}, **saved}


def flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dictionaries as one with dotted keys, as ``-o`` takes them: ``{"Global.seed": 0, ...}``."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat.update(flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value})
    return flat


def to_plain(value: Any) -> Any:
    """``value`` with lists in place of tuples, also inside dictionaries, as YAML needs it."""
    if isinstance(value, dict):
        return {key: to_plain(item) for key, item in value.items()}
    return list(value) if isinstance(value, tuple) else value
