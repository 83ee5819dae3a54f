"""Networks with the weights that training gave them."""

from pathlib import Path

import paddle

from ppcls_lite.config import Config
from ppcls_lite.config_files import is_set
from ppcls_lite.data import DATASETS
from ppcls_lite.deploy.metadata import Metadata
from ppcls_lite.engine.parts import build_network
from ppcls_lite.engine.run_dir import own_folder
from ppcls_lite.errors import UserError
from ppcls_lite.weights import find_weights, load_pretrained


def choose_weights(config: Config, config_file: str | Path, overrides: list[str]) -> Path:
    """The weights that a user means by a configuration's file and ``-o`` settings.

    A run's own config.yaml means that run's weights, wherever the folder lies now and whatever it started from, unless
    a setting names others. Any other file means ``Global.pretrained_model``, else what lies in ``Global.output_dir``.

    Raises:
        UserError: there are none; random weights are never taken in their place.
    """
    asked = is_set("Global.pretrained_model", overrides)
    own = own_folder(config_file)  # a run that was killed early has no weights: not those that it started from
    try:
        return find_weights((not asked and own) or config.Global.pretrained_model or config.Global.output_dir)
    except UserError as error:
        raise UserError(f"random weights tell nothing, and {error}, with -o Global.pretrained_model=PATH") from None


def load_trained(config: Config, weights: str | Path, resizes: bool = True) -> paddle.nn.Layer:
    """The network of ``config`` with ``weights``, in evaluation mode.

    Args:
        resizes: its input, where the configuration says so.

    Raises:
        UserError: the weights are not readable or do not fit.
    """
    with paddle.utils.unique_name.guard():
        network = build_network(config, resizes)
    load_pretrained(network, weights)
    network.eval()
    return network


def describe_network(config: Config, image_size: int, weights: str) -> Metadata:
    """Input and outputs of ``config``'s network on images of a side; where its weights came from is told as it is."""
    data = DATASETS[config.DataLoader.dataset]
    num_classes = config.Arch["num_classes"]
    normalize = config.DataLoader.normalize
    return Metadata(
        name=config.Global.name,
        model=config.Arch["name"],
        num_classes=num_classes,
        image_size=image_size,
        channels=data.channels,
        mean=data.mean if normalize else (0.0,) * data.channels,
        std=data.std if normalize else (1.0,) * data.channels,
        classes=data.classes if len(data.classes) == num_classes else (),
        weights=weights,
    )
