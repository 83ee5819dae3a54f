"""What lies in a folder of files by name: networks, data sets, tasks. A file there adds to it, and nothing else has to.

Names and options are read from the source text (``ast``), so that a misspelt option is answered without the second or
more that importing paddle takes.
"""

import ast
import functools
import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from ppcls_lite.config import options as option_types
from ppcls_lite.utils.errors import UserError, nearest

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Option:
    """One keyword of a factory: its annotation (see ``ppcls_lite.config.options``) and its default."""

    annotation: Any
    default: Any


@dataclass(frozen=True)
class Entry:
    """A factory: the module it lives in, the options it takes, and constants of the class that it returns."""

    module: str
    options: dict[str, Option]
    constants: dict[str, Any]


class Catalog:
    """The factories under a decorator in the files of a folder.

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

    def entry(self, name: str) -> Entry:
        """The entry of a name.

        Raises:
            UserError: no such name; the nearest one is given.
        """
        if name not in self._index:
            raise UserError(f"there is no {self.noun} '{name}'; {nearest(name, self.names())}")
        return self._index[name]

    def factory(self, name: str) -> Callable:
        """The factory of a name; its file is imported."""
        return getattr(importlib.import_module(self.entry(name).module), name)

    def check_options(self, name: str, given: dict[str, Any], prefix: str = "") -> dict[str, Any]:
        """``given`` with every value checked and converted; keys are reported as ``prefix + key``.

        Raises:
            UserError: unknown option (the nearest one is named) or a value of the wrong type or range.
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
                if isinstance(node, ast.FunctionDef) and any(
                    isinstance(d, ast.Name) and d.id == self.decorator for d in node.decorator_list
                ):
                    constants = _constants(classes.get(getattr(node.returns, "id", None)))
                    module = f"{self.package}.{path.stem}"
                    entries[node.name] = Entry(module, _factory_options(node, classes), constants)
        return entries


def _constants(network: ast.ClassDef | None) -> dict[str, Any]:
    """What a class's body sets to a plain value."""
    found = {}
    for node in network.body if network is not None else ():
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.value, ast.Constant):
            found[getattr(node.targets[0], "id", "")] = node.value.value
    return found


def _factory_options(factory: ast.FunctionDef, classes: dict[str, ast.ClassDef]) -> dict[str, Option]:
    """A factory's own keywords, and for ``**options`` those of the class it returns that it does not set itself."""
    found = _keywords(factory.args)
    if factory.args.kwarg is not None:
        if getattr(factory.returns, "id", None) not in classes:
            raise TypeError(f"{factory.name}(**options) must say which class of its own file it returns")
        methods = [node for node in classes[factory.returns.id].body if isinstance(node, ast.FunctionDef)]
        init = next(method for method in methods if method.name == "__init__")
        call = next(n.value for n in factory.body if isinstance(n, ast.Return))
        taken = {keyword.arg for keyword in call.keywords}
        inherited = {key: option for key, option in _keywords(init.args).items() if key not in taken}
        found = {**found, **inherited}
    return found


def _keywords(arguments: ast.arguments) -> dict[str, Option]:
    """Keyword-only arguments are the options; positional ones are structure."""
    return {
        arg.arg: Option(eval(ast.unparse(arg.annotation), vars(option_types)), ast.literal_eval(default))
        for arg, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    }


MODELS = Catalog("ppcls_lite.arch", "register_model", "model")
DATASETS = Catalog("ppcls_lite.data.sources", "register_dataset", "data set")
TASKS = Catalog("ppcls_lite.tasks", "register_task", "task")
F = TypeVar("F", bound=Callable)


def register_dataset(factory: F) -> F:
    """Mark a function that returns a ``ppcls_lite.data.dataset.Source``.

    Its options, keyword-only and typed as in ``config.options``, are settings of ``DataLoader``; ``root`` is one that
    all have.
    """
    return factory


def register_task(factory: F) -> F:
    """Mark a function from a ``Column`` to a ``ppcls_lite.tasks.task.Task``; its options are settings of a head."""
    return factory
