"""The network to measure, given as a configuration file or as a model name with options."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ppcls_lite.arch.registry import (
    MODELS,
    build_model,
    check_input_size,
    default_input_size,
    model_options,
    smallest_input_size,
    takes_images,
)
from ppcls_lite.config.files import parse_yaml
from ppcls_lite.config.schema import Table
from ppcls_lite.tasks.setup import load_setup
from ppcls_lite.tasks.task import Task
from ppcls_lite.utils.errors import UserError

CIFAR_SIZE = 32


@dataclass(frozen=True)
class Subject:
    """A network and the shape of its inputs.

    Args:
        image_size: side of its images in pixels; 0 for a table alone.
        channels: of its images.
        task: that it is trained for; None for a model without a configuration.
        table_width: values of a row of the table that it takes; 0 for images alone.
        table: the layers for that row.
    """

    name: str
    model: str
    image_size: int
    channels: int = 3
    options: dict[str, Any] = field(default_factory=dict)
    task: Task | None = None
    table_width: int = 0
    table: Table = field(default_factory=Table)

    def build(self):
        """The network with its task's head, freshly initialised."""
        network = build_model(self.model, **self.options)
        if self.task is not None:
            from ppcls_lite.tasks.network import add_head

            add_head(network, self.task, self.table_width, self.table)
        return network

    @property
    def input_shapes(self) -> list[tuple[int, ...]]:
        """The shape of one sample of each input."""
        images = [(self.channels, self.image_size, self.image_size)] if self.image_size else []
        return images + ([(self.table_width,)] if self.table_width else [])


def parse_subjects(texts: Iterable[str], image_size: int | None = None) -> list[Subject]:
    """Parse networks from the command line.

    Args:
        texts: ``vovnet39``, ``vovnet39:stem=paper,bottleneck=true`` or ``configs/vovnet39.yaml``.
        image_size: side for all networks. Default: that of the configuration; for a model name 224 if the model has
            1000 classes, else 32.

    Raises:
        UserError: unknown model, option or file; a network given twice; an image size that a network does not take.
    """
    subjects: dict[str, Subject] = {}
    for text in texts:
        read = _from_config if Path(text).suffix in (".yaml", ".yml") else _from_model
        subject = read(text, image_size)
        if text in subjects:
            raise UserError(f"'{text}' is given twice; give each network once")
        if subject.image_size:
            check_input_size(subject.model, subject.image_size, "--image-size")
        subjects[text] = subject
    # Two configurations, or a configuration and a model, may have the same name.
    names = Counter(subject.name for subject in subjects.values())
    return [replace(one, name=text) if names[one.name] > 1 else one for text, one in subjects.items()]


def _from_config(text: str, image_size: int | None) -> Subject:
    setup = load_setup(text)
    config, size = setup.config, setup.input_size and (image_size or setup.input_size)
    width = setup.spec.fields.width if setup.spec.fields is not None else 0
    named = (config.Global.name, config.Arch["name"], size, setup.channels, config.arch_options)
    return Subject(*named, setup.task, width, config.Table)


def _from_model(text: str, image_size: int | None) -> Subject:
    model, _, settings = text.partition(":")
    known = model_options(model)
    options = {}
    for setting in filter(None, settings.split(",")):
        key, equals, value = setting.partition("=")
        if key in options:
            raise UserError(f"'{text}': {key} is given twice")
        if not equals:
            raise UserError(f"'{text}': expected MODEL:OPTION=VALUE,..., such as vovnet39:stem=paper")
        try:
            options[key] = parse_yaml(value, text)
        except UserError:
            raise UserError(f"'{text}': {value!r} is not a valid value") from None
    options = MODELS.check_options(model, options, prefix=f"'{text}': ")
    values = {key: option.default for key, option in known.items()} | options
    if not takes_images(model):
        return Subject(text, model, 0, 0, options, table_width=values["in_features"])
    usual = max(224 if values["num_classes"] == 1000 else CIFAR_SIZE, smallest_input_size(model))
    size = image_size or default_input_size(model) or usual
    return Subject(text, model, size, values.get("in_channels", 3), options)
