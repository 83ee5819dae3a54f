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
)
from ppcls_lite.config.files import parse_yaml
from ppcls_lite.tasks.setup import load_setup
from ppcls_lite.utils.errors import UserError

CIFAR_SIZE = 32


@dataclass(frozen=True)
class Subject:
    """A network and the shape of its images: ``channels`` x ``image_size`` x ``image_size``."""

    name: str
    model: str
    image_size: int
    channels: int = 3
    options: dict[str, Any] = field(default_factory=dict)

    def build(self):
        """The network, freshly initialised."""
        return build_model(self.model, **self.options)


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
        check_input_size(subject.model, subject.image_size, "--image-size")
        subjects[text] = subject
    # Two configurations, or a configuration and a model, may have the same name.
    names = Counter(subject.name for subject in subjects.values())
    return [replace(one, name=text) if names[one.name] > 1 else one for text, one in subjects.items()]


def _from_config(text: str, image_size: int | None) -> Subject:
    setup = load_setup(text)
    config, size = setup.config, image_size or setup.input_size
    return Subject(config.Global.name, config.Arch["name"], size, setup.channels, config.arch_options)


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
    usual = max(224 if values["num_classes"] == 1000 else CIFAR_SIZE, smallest_input_size(model))
    size = image_size or default_input_size(model) or usual
    return Subject(text, model, size, values.get("in_channels", 3), options)
