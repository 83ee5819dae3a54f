"""The networks by name, and their construction. ``@register_model`` makes a factory in this package a model."""

import functools
import logging
from collections.abc import Callable
from typing import Any

from ppcls_lite.config import options as option_types
from ppcls_lite.config.catalog import MODELS, Option
from ppcls_lite.utils.errors import UserError

logger = logging.getLogger(__name__)

list_models = MODELS.names


def model_options(name: str) -> dict[str, Option]:
    """The options of model ``name``, without ``pretrained``.

    Raises:
        UserError: unknown model; the message suggests the nearest name.
    """
    return MODELS.entry(name).options


def fixed_input_size(name: str) -> int | None:
    """The image size that model ``name`` requires (``input_size`` of its class), or None if it takes any size."""
    return MODELS.entry(name).constants.get("input_size")


def default_input_size(name: str) -> int | None:
    """The image size of model ``name`` where none is set: its only one, or ``default_input_size`` of its class."""
    return fixed_input_size(name) or MODELS.entry(name).constants.get("default_input_size")


def smallest_input_size(name: str) -> int:
    """The smallest side in pixels of images for model ``name``: ``min_input_size`` of its class, by default 32."""
    return MODELS.entry(name).constants.get("min_input_size", 32)


def takes_images(name: str) -> bool:
    """Whether model ``name`` takes images, or else a table alone."""
    return MODELS.entry(name).constants.get("takes_images", True)


def image_models() -> list[str]:
    """The models that take images."""
    return [name for name in list_models() if takes_images(name)]


def check_input_size(name: str, size: int, key: str) -> None:
    """Check that model ``name`` takes images of ``size`` pixels; ``key`` names the setting in the message.

    Raises:
        UserError: it does not.
    """
    fixed = fixed_input_size(name)
    if fixed and size != fixed:
        raise UserError(f"{key} is {size}, but {name} takes {fixed} only")
    smallest = smallest_input_size(name)
    if not fixed and not smallest <= size <= 4096:
        raise UserError(f"{key} is {size}, expected {smallest} to 4096{f' for {name}' if smallest > 32 else ''}")


def build_model(name: str, **options: Any):
    """Build network ``name`` as a ``paddle.nn.Layer``.

    Args:
        name: one of :func:`list_models`.
        options: options of the model (:func:`model_options`), and ``pretrained``: a path of weights or a run folder,
            or True for the ImageNet weights that Paddle publishes (``weights.published``), downloaded once. A head
            with other outputs than their 1000 keeps its random weights.

    Raises:
        UserError: unknown model or option, or invalid value; or the weights are not found, or do not fit.
    """
    return MODELS.factory(name)(**options)


def register_model(factory: Callable) -> Callable:
    """Make a factory a model, which checks its options and loads ``pretrained`` weights."""
    name = factory.__name__

    @functools.wraps(factory)
    def build(*, pretrained: bool | str = False, **options: Any):
        option_types.coerce(pretrained, option_types.Pretrained, "pretrained")
        network = factory(**MODELS.check_options(name, options))
        if pretrained:
            from ppcls_lite.weights import load, published

            if pretrained is not True:
                load.load_pretrained(network, pretrained)
            elif fresh := load.load_initial(network, published.fetch(name)):
                logger.info("%s: %s start fresh, since the published head has 1000 outputs", name, ", ".join(fresh))
        return network

    return build
