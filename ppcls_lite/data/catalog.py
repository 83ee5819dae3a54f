"""The data sets by name: a factory in a file of ``sources`` becomes one by ``@register_dataset``."""

from collections.abc import Callable
from typing import TypeVar

from ppcls_lite.catalog import Catalog

DATASETS = Catalog("ppcls_lite.data.sources", "register_dataset", "data set")
F = TypeVar("F", bound=Callable)


def register_dataset(factory: F) -> F:
    """Mark a function that returns a :class:`~ppcls_lite.data.dataset.Source`.

    Its options, keyword-only and typed as in ``ppcls_lite.options``, are settings of ``DataLoader``; ``root`` is one
    that all have.
    """
    return factory
