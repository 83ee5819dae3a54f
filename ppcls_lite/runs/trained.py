"""Networks with trained weights."""

from pathlib import Path

import paddle

from ppcls_lite.arch.mlp import find_output
from ppcls_lite.config.files import is_set
from ppcls_lite.config.schema import Config
from ppcls_lite.data.fields import Fields
from ppcls_lite.runs.resume import own_folder
from ppcls_lite.tasks.metadata import Metadata
from ppcls_lite.tasks.network import build_headed, prepare_input
from ppcls_lite.tasks.setup import Setup
from ppcls_lite.tasks.task import Task
from ppcls_lite.utils.errors import UserError
from ppcls_lite.weights import published
from ppcls_lite.weights.load import find_weights, load_pretrained


def choose_weights(config: Config, config_file: str | Path, overrides: list[str]) -> Path:
    """The weights that a configuration file and ``-o`` settings refer to.

    A run's own config.yaml refers to that run's weights, even if its folder was moved, unless a setting names others.
    Any other file refers to ``Global.pretrained_model``, or else to the weights in ``Global.output_dir``.

    Raises:
        UserError: there are none; random weights are never used instead.
    """
    asked = is_set("Global.pretrained_model", overrides)
    own = own_folder(config_file)
    path = (not asked and own) or config.Global.pretrained_model or config.Global.output_dir
    try:
        return find_weights(path, config.Arch["name"])
    except UserError as error:
        if path == published.NAME:
            raise
        raise UserError(f"trained weights are needed, but {error}, with -o Global.pretrained_model=PATH") from None


def load_trained(setup: Setup, weights: str | Path, prepares: bool = True) -> paddle.nn.Layer:
    """The network of ``setup`` with ``weights``, in evaluation mode.

    Args:
        prepares: whether the network prepares its input, and so takes images as loaders yield them.

    Raises:
        UserError: the weights are unreadable or do not fit.
    """
    network = load_network(setup.config, setup.task, setup.spec.fields, weights)
    if prepares:
        prepare_input(network, setup.normalization, setup.config.DataLoader.image_size)
    return network


def load_network(config: Config, task: Task, fields: Fields | None, weights: str | Path) -> paddle.nn.Layer:
    """The network of a configuration whose section ``Arch`` is complete with ``weights``, in evaluation mode."""
    with paddle.utils.unique_name.guard():
        network = build_headed(config, task, fields)
    load_pretrained(network, weights)
    task.read_head(find_output(network))
    network.eval()
    return network


def run_folders(weights: Path) -> tuple[Path, Path]:
    """The folders that are a run's if ``weights`` are the run's own, or those of one of its checkpoints."""
    return weights.parent, weights.parent.parent.parent


def describe_network(setup: Setup, weights: str, image_size: int | None = None) -> Metadata:
    """Metadata of the network for images of ``image_size`` (default: the setup's); ``weights`` names their origin."""
    config = setup.config
    mean, std = setup.normalization.mean, setup.normalization.std
    return Metadata(
        name=config.Global.name,
        model=config.Arch["name"],
        image_size=image_size or setup.input_size or None,
        channels=setup.channels,
        mean=mean,
        std=std,
        task=setup.task.describe(),
        weights=weights,
        fields=setup.spec.fields and setup.spec.fields.to_dict(),
        resize=setup.resize and round(setup.resize * (image_size or setup.input_size) / setup.input_size),
    )
