"""Catalogs of networks, data sets and tasks: a decorated factory in a file of the right folder is all that one needs.

Names and options are read from the source text with ``ast``. Importing the files instead (``inspect``) would import
paddle, which takes a second or more, before a misspelt option is reported and before ``import_paddle`` has set threads.
"""

import ast
import functools
import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ppcls_lite.config import options as option_types
from ppcls_lite.utils.errors import UserError, nearest

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Option:
    """A keyword of a factory: its annotation (see ``ppcls_lite.config.options``) and its default."""

    annotation: Any
    default: Any


@dataclass(frozen=True)
class Entry:
    """A factory: its module, its options, and the constants in the body of the class that it returns."""

    module: str
    options: dict[str, Option]
    constants: dict[str, Any]


class Catalog:
    """The decorated factories in the files of a package.

    Args:
        package: such as ``ppcls_lite.arch``.
        decorator: name of the decorator that marks a factory.
        noun: what messages call an entry: ``model``.
    """

    def __init__(self, package: str, decorator: str, noun: str):
        self.package, self.decorator, self.noun = package, decorator, noun

    def names(self) -> list[str]:
        """All names, sorted."""
        return sorted(self._index)

    def entry(self, name: str, prefix: str = "") -> Entry:
        """The entry called ``name``.

        Raises:
            UserError: no such name; the message begins with ``prefix`` and suggests the nearest name.
        """
        if name not in self._index:
            raise UserError(f"{prefix}there is no {self.noun} '{name}'; {nearest(name, self.names())}")
        return self._index[name]

    def factory(self, name: str) -> Callable:
        """The factory called ``name``; imports its module."""
        return getattr(importlib.import_module(self.entry(name).module), name)

    def defaults(self, name: str) -> dict[str, Any]:
        """The options of ``name`` with their defaults."""
        return {key: option.default for key, option in self.entry(name).options.items()}

    def check_options(self, name: str, given: dict[str, Any], prefix: str = "") -> dict[str, Any]:
        """``given`` with every value checked and converted; messages call a key ``prefix + key``.

        Raises:
            UserError: unknown option (the message suggests the nearest one), or a value of the wrong type or range.
        """
        known = self.entry(name).options
        for key in given:
            if key not in known:
                raise UserError(f"{prefix}{key} is not an option of {name}; {nearest(key, known)}")
        return {key: option_types.coerce(value, known[key].annotation, prefix + key) for key, value in given.items()}

    @functools.cached_property
    def _index(self) -> dict[str, Entry]:
        entries = {}
        for path in sorted(ROOT.joinpath(*self.package.split(".")[1:]).glob("*.py")):
            body = ast.parse(path.read_text(encoding="utf-8")).body
            classes = {node.name: node for node in body if isinstance(node, ast.ClassDef)}
            for node in body:
                if isinstance(node, ast.FunctionDef) and self.decorator in map(ast.unparse, node.decorator_list):
                    network = classes.get(getattr(node.returns, "id", ""))
                    options, constants = _read_options(node, network), _read_constants(network)
                    entries[node.name] = Entry(f"{self.package}.{path.stem}", options, constants)
        return entries


def _read_constants(network: ast.ClassDef | None) -> dict[str, Any]:
    """Names that the body of a class sets to a plain value."""
    return {
        ast.unparse(node.targets[0]): node.value.value
        for node in (network.body if network else ())
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
    }


def _read_options(factory: ast.FunctionDef, network: ast.ClassDef | None) -> dict[str, Option]:
    """A factory's keywords; ``**options`` adds those of ``network`` that the factory does not set itself."""
    own = _read_keywords(factory.args)
    if factory.args.kwarg is None:
        return own
    if network is None:
        raise TypeError(f"{factory.name}(**options) needs the class it returns, from the same file, as its annotation")
    init = next(node for node in network.body if isinstance(node, ast.FunctionDef) and node.name == "__init__")
    call = next(node.value for node in factory.body if isinstance(node, ast.Return))
    fixed = {keyword.arg for keyword in call.keywords}
    return own | {key: option for key, option in _read_keywords(init.args).items() if key not in fixed}


def _read_keywords(arguments: ast.arguments) -> dict[str, Option]:
    """The keyword-only arguments, which are options; positional ones are structure."""
    return {
        arg.arg: Option(eval(ast.unparse(arg.annotation), vars(option_types)), ast.literal_eval(default))
        for arg, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    }


MODELS = Catalog("ppcls_lite.arch", "register_model", "model")
DATASETS = Catalog("ppcls_lite.data.sources", "register_dataset", "data set")
TASKS = Catalog("ppcls_lite.tasks", "register_task", "task")


def register_dataset(factory: Callable) -> Callable:
    """Mark a function that returns a ``ppcls_lite.data.dataset.Source``.

    Its keyword-only arguments, typed as in ``config.options``, are settings of ``DataLoader``; every data set has
    ``root``.
    """
    return factory


def register_task(factory: Callable) -> Callable:
    """Mark a function from a ``Column`` to a ``ppcls_lite.tasks.task.Task``; its options are a head's settings."""
    return factory
