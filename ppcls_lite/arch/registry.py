"""The registry of networks: names, options and construction.

A factory in a file of this package becomes a model by ``@register_model``. Names and options are read from the source
text (``ast``), so that a misspelt option is answered without the second or more that importing paddle takes.
"""

import ast
import functools
import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ppcls_lite import options as option_types
from ppcls_lite.errors import UserError, nearest


@dataclass(frozen=True)
class Option:
    """One keyword of a factory: its annotation (see ``ppcls_lite.options``) and its default."""

    annotation: Any
    default: Any


@dataclass(frozen=True)
class Model:
    """A registered factory: the module it lives in, the options it takes, and the only input side it takes, if so."""

    module: str
    options: dict[str, Option]
    input_size: int | None


def list_models() -> list[str]:
    """Names of all networks, sorted."""
    return sorted(_index())


def find_module(name: str) -> str | None:
    """The module of this package that defines model ``name``, or None."""
    model = _index().get(name)
    return model and model.module


def model_options(name: str) -> dict[str, Option]:
    """The options of model ``name``, ``pretrained`` aside.

    Raises:
        UserError: no such model; the nearest name is given.
    """
    if name not in _index():
        raise UserError(f"there is no model '{name}'; {nearest(name, list_models())}")
    return _index()[name].options


def fixed_input_size(name: str) -> int | None:
    """The only side of images that model ``name`` takes (``input_size`` of its class), or None where it takes any."""
    model_options(name)
    return _index()[name].input_size


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
    """``given`` with every value checked and converted; keys are reported as ``prefix + key``.

    Raises:
        UserError: unknown option (the nearest one is named) or a value of the wrong type or range.
    """
    known = model_options(name)
    for key in given:
        if key not in known:
            raise UserError(f"{prefix}{key} is not an option of {name}; {nearest(key, known)}")
    return {key: option_types.coerce(value, known[key].annotation, prefix + key) for key, value in given.items()}


def build_model(name: str, **options: Any):
    """Build network ``name`` as a ``paddle.nn.Layer``.

    Args:
        name: one of :func:`list_models`.
        options: the factory's keywords (:func:`model_options`), and ``pretrained``: a path to weights or a run folder.

    Raises:
        UserError: unknown name, unknown option or wrong value.
    """
    model_options(name)
    module = importlib.import_module(f"ppcls_lite.arch.{_index()[name].module}")
    return getattr(module, name)(**options)


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
            from ppcls_lite.weights import load_pretrained

            load_pretrained(network, pretrained)
        return network

    return build


@functools.lru_cache(maxsize=1)
def _index() -> dict[str, Model]:
    models = {}
    for path in sorted(Path(__file__).parent.glob("*.py")):
        if path.name in ("__init__.py", "registry.py"):
            continue
        body = ast.parse(path.read_text(encoding="utf-8")).body
        classes = {node.name: node for node in body if isinstance(node, ast.ClassDef)}
        for node in body:
            if isinstance(node, ast.FunctionDef) and any(
                isinstance(d, ast.Name) and d.id == "register_model" for d in node.decorator_list
            ):
                fixed = _input_size(classes.get(getattr(node.returns, "id", None)))
                models[node.name] = Model(path.stem, _factory_options(node, classes), fixed)
    return models


def _input_size(network: ast.ClassDef | None) -> int | None:
    for node in network.body if network is not None else ():
        if isinstance(node, ast.Assign) and [getattr(target, "id", None) for target in node.targets] == ["input_size"]:
            return ast.literal_eval(node.value)
    return None


def _factory_options(factory: ast.FunctionDef, classes: dict[str, ast.ClassDef]) -> dict[str, Option]:
    """A factory's own keywords, and for ``**options`` those of the class it returns that it does not set itself."""
    if factory.args.args:
        raise TypeError(f"{factory.name}: options are keyword-only; write def {factory.name}(*, ...)")
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
