"""The tasks by name: a factory in a file of this package becomes one by ``@register_task``."""

from collections.abc import Callable
from typing import TypeVar

from ppcls_lite.catalog import Catalog

TASKS = Catalog("ppcls_lite.tasks", "register_task", "task")
F = TypeVar("F", bound=Callable)


def register_task(factory: F) -> F:
    """Mark a function from a ``Column`` to a ``Task``; its options are keyword-only and typed."""
    return factory
