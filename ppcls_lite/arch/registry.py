"""The registry of networks: names, options and construction.

A factory in a file of this package becomes a model by ``@register_model``.
"""

import functools
from collections.abc import Callable
from typing import Any

from ppcls_lite.config import options as option_types
from ppcls_lite.config.catalog import MODELS, Option
from ppcls_lite.utils.errors import UserError


def list_models() -> list[str]:
    """Names of all networks, sorted."""
    return MODELS.names()


def model_options(name: str) -> dict[str, Option]:
    """The options of model ``name``, ``pretrained`` aside.

    Raises:
        UserError: no such model; the nearest name is given.
    """
    return MODELS.entry(name).options


def fixed_input_size(name: str) -> int | None:
    """The only side of images that model ``name`` takes (``input_size`` of its class), or None where it takes any."""
    return MODELS.entry(name).constants.get("input_size")


def check_input_size(name: str, size: int, key: str) -> None:
    """Check the side of images that model ``name`` is to work on; it is reported as ``key``.

    Raises:
        UserError: a side that the model does not take.
    """
    fixed = fixed_input_size(name)
    if fixed and size != fixed:
        raise UserError(f"{key} is {size}, but {name} takes {fixed} only")
    if not fixed and not 32 <= size <= 4096:
        raise UserError(f"{key} is {size}, expected 32 to 4096")


def check_options(name: str, given: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """See :meth:`Catalog.check_options`."""
    return MODELS.check_options(name, given, prefix)


def build_model(name: str, **options: Any):
    """Build network ``name`` as a ``paddle.nn.Layer``.

    Args:
        name: one of :func:`list_models`.
        options: the factory's keywords (:func:`model_options`), and ``pretrained``: a path to weights or a run folder.

    Raises:
        UserError: unknown name, unknown option or wrong value.
    """
    return MODELS.factory(name)(**options)


def register_model(factory: Callable) -> Callable:
    """Make a factory a model: check its options, and load ``pretrained`` weights after construction."""
    name = factory.__name__

    @functools.wraps(factory)
    def build(*, pretrained: bool | str = False, **options: Any):
        option_types.coerce(pretrained, option_types.Pretrained, "pretrained")
        if pretrained is True:
            raise UserError(
                f"no weights are published for {name}; pass pretrained=PATH, a run folder, "
                "a .pdparams or a .safetensors file"
            )
        network = factory(**check_options(name, options))
        if pretrained:
            from ppcls_lite.weights.load import load_pretrained

            load_pretrained(network, pretrained)
        return network

    return build
