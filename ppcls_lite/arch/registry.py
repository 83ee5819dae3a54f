"""The networks by name, and their construction. ``@register_model`` makes a factory in this package a model."""

import functools
from collections.abc import Callable
from typing import Any

from ppcls_lite.config import options as option_types
from ppcls_lite.config.catalog import MODELS, Option
from ppcls_lite.utils.errors import UserError

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


def takes_images(name: str) -> bool:
    """Whether model ``name`` takes images, or else a table alone."""
    return MODELS.entry(name).constants.get("takes_images", True)


def check_input_size(name: str, size: int, key: str) -> None:
    """Check that model ``name`` takes images of ``size`` pixels; ``key`` names the setting in the message.

    Raises:
        UserError: it does not.
    """
    fixed = fixed_input_size(name)
    if fixed and size != fixed:
        raise UserError(f"{key} is {size}, but {name} takes {fixed} only")
    if not fixed and not 32 <= size <= 4096:
        raise UserError(f"{key} is {size}, expected 32 to 4096")


def build_model(name: str, **options: Any):
    """Build network ``name`` as a ``paddle.nn.Layer``.

    Args:
        name: one of :func:`list_models`.
        options: options of the model (:func:`model_options`), and ``pretrained``: a path of weights or a run folder.

    Raises:
        UserError: unknown model or option, or invalid value.
    """
    return MODELS.factory(name)(**options)


def register_model(factory: Callable) -> Callable:
    """Make a factory a model, which checks its options and loads ``pretrained`` weights."""
    name = factory.__name__

    @functools.wraps(factory)
    def build(*, pretrained: bool | str = False, **options: Any):
        option_types.coerce(pretrained, option_types.Pretrained, "pretrained")
        if pretrained is True:
            raise UserError(
                f"no weights are published for {name}; pass pretrained=PATH, a run folder, "
                "a .pdparams or a .safetensors file"
            )
        network = factory(**MODELS.check_options(name, options))
        if pretrained:
            from ppcls_lite.weights.load import load_pretrained

            load_pretrained(network, pretrained)
        return network

    return build
