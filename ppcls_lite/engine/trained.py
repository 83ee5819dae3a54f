"""Networks with the weights that training gave them."""

from pathlib import Path

import paddle

from ppcls_lite.config import Config
from ppcls_lite.engine.parts import build_network
from ppcls_lite.engine.run_dir import is_run_folder
from ppcls_lite.errors import UserError
from ppcls_lite.weights import find_weights, load_pretrained


def choose_weights(config: Config, config_file: str | Path, overrides: list[str]) -> Path:
    """The weights that a user means by a configuration's file and ``-o`` settings.

    A run's own config.yaml means that run's weights, wherever the folder lies now and whatever it started from, unless
    a setting names others. Any other file means ``Global.pretrained_model``, else what lies in ``Global.output_dir``.

    Raises:
        UserError: there are none; random weights are never taken in their place.
    """
    folder = Path(config_file).parent
    asked = any(override.partition("=")[0].strip() == "Global.pretrained_model" for override in overrides)
    # A run that was killed early has a log and no weights: then it has none, not those that it started from.
    is_run = Path(config_file).name == "config.yaml" and (is_run_folder(folder) or (folder / "train.log").is_file())
    own = folder if is_run and not asked else None
    try:
        return find_weights(own or config.Global.pretrained_model or config.Global.output_dir)
    except UserError as error:
        raise UserError(f"random weights tell nothing, and {error}, with -o Global.pretrained_model=PATH") from None


def load_trained(config: Config, weights: str | Path) -> paddle.nn.Layer:
    """The network of ``config`` with ``weights``, in evaluation mode.

    Raises:
        UserError: the weights are not readable or do not fit.
    """
    with paddle.utils.unique_name.guard():
        network = build_network(config)
    load_pretrained(network, weights)
    network.eval()
    return network
