"""Setups: configurations completed with the description of their data set. Nothing here imports paddle."""

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ppcls_lite.arch.registry import check_input_size, default_input_size, model_options, takes_images
from ppcls_lite.config import load as configs
from ppcls_lite.config.catalog import TASKS
from ppcls_lite.config.schema import Config, DataLoader
from ppcls_lite.data import DataSpec, Reading, Source, Split, open_source
from ppcls_lite.data.pipeline import Pipeline, parse_transforms
from ppcls_lite.data.transforms import Normalization, identity, imagenet
from ppcls_lite.tasks.several import Head, Several
from ppcls_lite.tasks.task import Task, make_task
from ppcls_lite.utils.errors import UserError, nearest

DISK_IMAGE_SIZE = 224  # default for images on disk


@dataclass(frozen=True)
class Setup:
    """The parts of a run, before images are read and the network is built.

    ``config.Arch`` has all options, and ``column`` is the target, or None for several heads. Images have ``channels``
    channels and are resized to ``input_size`` pixels: in training by ``pipeline``, if there is one; otherwise their
    shorter side is resized to ``resize`` (None: ``input_size``) and the center cropped. For a table without images,
    ``channels`` and ``input_size`` are 0.
    """

    config: Config
    source: Source
    column: str | None
    task: Task
    channels: int
    input_size: int
    normalization: Normalization
    pipeline: Pipeline | None
    resize: int | None

    @property
    def spec(self) -> DataSpec:
        return self.source.spec

    @property
    def at_size(self) -> str:
        """`` at 224 px``, or nothing for a table without images."""
        return f" at {self.input_size} px" if self.input_size else ""

    @property
    def balance(self) -> str | None:
        """The column whose classes the parts of the data have in equal proportions; None for random parts."""
        return self.column if self.task.name == "classification" else None

    def targets(self, split: Split) -> np.ndarray:
        """The targets of a split as the task's loss takes them."""
        return self.task.encode(split.targets if self.column is None else split.targets[self.column])

    @property
    def reading(self) -> Reading:
        """How to read images on disk."""
        data = self.config.DataLoader
        return Reading(self.channels, self.input_size, data.num_workers, data.on_bad_image == "skip", self.resize)


def load_setup(path: str | Path, overrides: Iterable[str] = ()) -> Setup:
    """Load the setup of a config file with overrides.

    Raises:
        UserError: the configuration is invalid; the message names the file, the key and what was expected.
    """
    overrides = list(overrides)
    config = configs.load(path, overrides)
    with configs.naming(path, overrides):
        return complete(config)


def complete(config: Config | Setup) -> Setup:
    """Complete a configuration with the properties of its data set, and check it; a setup is returned as it is.

    Raises:
        UserError: the data set is not found, or network, head and data do not fit together.
    """
    if isinstance(config, Setup):
        return config
    data = config.DataLoader
    source = open_source(data.dataset, data.root, data.options)
    spec = source.spec
    column, task = _choose_tasks(config, spec)
    if config.Global.headline is not None:
        try:
            task.choose_headline(config.Global.headline)
        except UserError as error:
            raise UserError(f"Global.headline: {error}") from None
    arch = {**config.Arch, "num_classes": task.outputs}
    _check_balancing(data, spec, column, task)
    _check_inputs(arch["name"], data, spec)
    if not spec.has_images:
        config = dataclasses.replace(config, Arch={**arch, "in_features": spec.fields.width})
        return Setup(config, source, column, task, 0, 0, identity(0), None, None)
    channels = _choose_channels(config.Arch, spec)
    if "in_channels" in model_options(arch["name"]):
        arch["in_channels"] = channels
    size = data.image_size or spec.image_size or default_input_size(arch["name"]) or DISK_IMAGE_SIZE
    check_input_size(arch["name"], size, "DataLoader.image_size")
    most = spec.image_size or size
    if data.crop_padding > most:
        raise UserError(f"DataLoader.crop_padding is {data.crop_padding}, expected at most {most}")
    config = dataclasses.replace(config, Arch=arch)
    normalization = _choose_normalization(config, spec, channels)
    pipeline = _make_pipeline(data, spec, size, channels, normalization)
    if pipeline is not None and pipeline.normalize is not None:
        normalization = Normalization(pipeline.normalize.mean, pipeline.normalize.std)
    resize = _eval_resize(data, spec, size, channels)
    return Setup(config, source, column, task, channels, size, normalization, pipeline, resize)


def _choose_channels(arch: dict[str, Any], spec: DataSpec) -> int:
    given, takes_any = arch.get("in_channels"), "in_channels" in model_options(arch["name"])
    if spec.channels is None:
        channels = given or 3
        if channels not in (1, 3):
            raise UserError(f"Arch.in_channels is {channels}, expected 1 for gray or 3 for color")
        return channels
    if (given or (spec.channels if takes_any else 3)) != spec.channels:
        takes = f"Arch.in_channels is {given}" if given else f"{arch['name']} takes 3 channels"
        raise UserError(f"{takes}, but the images of {spec.name} have {spec.channels}")
    return spec.channels


def _check_inputs(model: str, data: DataLoader, spec: DataSpec) -> None:
    """Check that the network and the transforms take what the data set has."""
    if spec.has_images and not takes_images(model):
        raise UserError(f"{model} takes a table without images, but {spec.name} has images; choose another Arch.name")
    if not spec.has_images and takes_images(model):
        raise UserError(f"{model} takes images, but {spec.name} has none; set DataLoader.images, or Arch.name=mlp")
    given = [key for key in ("transforms", "eval_transforms", "crop_padding", "flip") if getattr(data, key)]
    if given and not spec.has_images:
        raise UserError(f"DataLoader.{given[0]} is given, but {spec.name} has no images; leave it out")


def _choose_tasks(config: Config, spec: DataSpec) -> tuple[str | None, Task]:
    """The column and task of the only head, by default classification of the first column; or the task of several."""
    heads = config.Heads or {"": {"task": "classification", "column": next(iter(spec.columns))}}
    tasks = {name: _choose_task(config, spec, name, head) for name, head in heads.items()}
    if len(tasks) == 1:
        return next((head["column"], tasks[name]) for name, head in heads.items())
    task = Several({n: Head(one, heads[n]["column"], heads[n].get("weight", 1.0)) for n, one in tasks.items()})
    given = config.Arch.get("num_classes")
    if given not in (None, task.outputs):
        raise UserError(f"Arch.num_classes is {given}, but the heads have {task.outputs} outputs; remove it")
    return None, task


def _choose_task(config: Config, spec: DataSpec, name: str, head: dict[str, Any]) -> Task:
    key, column = f"Heads.{name}", head["column"]
    if column not in spec.columns:
        raise UserError(f"{key}.column is '{column}', which {spec.name} does not have; {nearest(column, spec.columns)}")
    options = {option: value for option, value in head.items() if option not in ("task", "column", "weight")}
    known, given = TASKS.entry(head["task"]).options, config.Arch.get("num_classes") if len(config.Heads) < 2 else None
    if "label_smoothing" in known:
        options.setdefault("label_smoothing", config.Loss.label_smoothing)
    elif config.Loss.label_smoothing and len(config.Heads) < 2:
        raise UserError(f"Loss.label_smoothing is {config.Loss.label_smoothing:g}, but {key} has no classes")
    if "num_classes" in known and given is not None:
        options["num_classes"] = given
        classes = len(spec.columns[column].classes)
        if given < classes:
            raise UserError(f"Arch.num_classes is {given}, but {spec.name} has {classes} classes")
    try:
        task = make_task(head["task"], spec.columns[column], options, f"{key}.")
    except UserError as error:
        text = str(error)
        raise UserError(text if text.startswith(key) else f"{key}.column is '{column}': {text}") from None
    if given not in (None, task.outputs):
        raise UserError(f"Arch.num_classes is {given}, but {key} has {task.outputs} output; remove it")
    return task


def _check_balancing(data: DataLoader, spec: DataSpec, column: str | None, task: Task) -> None:
    """Check ``class_weights`` and ``sampler``."""
    given = [key for key in ("class_weights", "sampler") if getattr(data, key) is not None]
    if given and task.name != "classification":
        what = "there are several heads" if column is None else f"{column} is not learned by classification"
        raise UserError(f"DataLoader.{given[0]} is given, but {what}; leave it out")
    weights, classes = data.class_weights, getattr(task, "classes", ())
    if isinstance(weights, tuple) and len(weights) != len(classes):
        raise UserError(
            f"DataLoader.class_weights has {len(weights)} values, but {spec.name} has {len(classes)} classes"
        )
    if weights == "balanced" == data.sampler:
        raise UserError("DataLoader.class_weights and DataLoader.sampler are both balanced; leave one out")


def _choose_normalization(config: Config, spec: DataSpec, channels: int) -> Normalization:
    data = config.DataLoader
    if not data.normalize:
        if data.mean is not None:
            raise UserError("DataLoader.mean is given, but DataLoader.normalize is false; remove one")
        return identity(channels)
    if data.mean is not None and data.std is not None:
        for key, values in (("mean", data.mean), ("std", data.std)):
            if len(values) != channels:
                raise UserError(f"DataLoader.{key} is {list(values)}, expected {channels} values, one per channel")
        return Normalization(data.mean, data.std)
    if spec.mean is not None and spec.std is not None:
        return Normalization(spec.mean, spec.std)
    return imagenet(channels)


def _make_pipeline(
    data: DataLoader, spec: DataSpec, size: int, channels: int, normalization: Normalization
) -> Pipeline | None:
    """The transforms of training.

    Raises:
        UserError: they are wrong, or result in images of another size than the network's input.
    """
    if data.transforms is None:
        return None
    short_forms = [key for key in ("crop_padding", "flip") if getattr(data, key)]
    if short_forms:
        raise UserError(f"DataLoader.{short_forms[0]} and DataLoader.transforms are both given; leave one out")
    stored = spec.image_size or size
    pipeline = parse_transforms(data.transforms, "DataLoader.transforms", stored, channels, normalization.mean)
    if pipeline.size not in (stored, size):
        raise UserError(
            f"DataLoader.transforms results in images of {pipeline.size} px, but the network's input has {size} px; "
            f"change a size there, or set DataLoader.image_size={pipeline.size}"
        )
    if pipeline.normalize is not None and (data.mean is not None or not data.normalize):
        raise UserError("DataLoader.transforms has Normalize, but DataLoader.mean or normalize is also given")
    if pipeline.batch and spec.fields is not None and spec.fields.width:
        raise UserError(
            f"DataLoader.transforms has {type(pipeline.batch[0]).__name__}, which does not mix a table; leave it out"
        )
    return pipeline


def _eval_resize(data: DataLoader, spec: DataSpec, size: int, channels: int) -> int | None:
    """The shorter side that images are resized to before the central crop, if it differs from ``size``."""
    if data.eval_transforms is None:
        return None
    key = "DataLoader.eval_transforms"
    if spec.image_size is not None:
        raise UserError(f"{key} is for images on disk, but those of {spec.name} have one size; leave it out")
    pipeline = parse_transforms(data.eval_transforms, key, size, channels, scoring=True)
    if pipeline.size != size:
        raise UserError(f"{key} results in images of {pipeline.size} px, but the network's input has {size} px")
    resize = pipeline.region.size if pipeline.region is not None else size
    return None if resize == size else resize
