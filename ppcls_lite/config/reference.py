"""docs/configuration.md, made from the schema by ``python -m ppcls_lite.config.reference``."""

import dataclasses
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml
from tabulate import tabulate

from ppcls_lite.arch import list_models, model_options
from ppcls_lite.config import schema as configs
from ppcls_lite.config.catalog import TASKS, Catalog
from ppcls_lite.config.options import describe
from ppcls_lite.data import DATASETS

PATH = Path(__file__).resolve().parents[2] / "docs" / "configuration.md"

HEADERS = ["setting", "value", "default", "meaning"]

INTRODUCTION = """\
# Configuration

Made from the schema in `ppcls_lite/config/schema.py` by `python -m ppcls_lite.config.reference`; change it there.

A configuration is a YAML file of the sections below; what it leaves out has its default. `_BASE_: other.yaml` (or a
list) inherits from files named relative to it. On the command line `-o SECTION.KEY=VALUE ...` replaces single settings,
the value in YAML: `-o Global.epochs=5 Optimizer.lr.learning_rate=0.01`. A misspelt key, a wrong type and values that do
not go together are refused before anything starts. A run writes the configuration with every default filled in to its
`config.yaml`, which makes the same run again.
"""

ARCH = """\
## Arch

`Arch.name` is one of {models}.

The other keys of the section are that model's options, which `docs/networks.md` explains. `Arch.num_classes` and
`Arch.in_channels`, whole numbers, are by default those of the data set.
"""


DATA_SETS = """\
`DataLoader.dataset` is one of {data_sets} ([data sets](data.md)). Options of single data sets:

{table}
"""

HEADS = """\
## Heads

What the network learns: a head by its name, with its `task` ({tasks}) and the `column` of the data set (by default the
head's name), such as `Heads: {{value: {{task: regression, column: value}}}}` on the digits. Without this section the
network classifies the data set's first column. One head so far.

{table}
"""


def make_reference() -> str:
    """The text of docs/configuration.md."""
    parts = [INTRODUCTION]
    for name, section in configs.SECTIONS.items():
        parts.append(f"## {name}\n\n{section.__doc__}\n\n{_table(_settings(section, f'{name}.'), HEADERS)}\n")
        if name == "DataLoader":
            data_sets = ", ".join(f"`{one}`" for one in DATASETS.names())
            parts.append(DATA_SETS.format(data_sets=data_sets, table=_options(DATASETS, "DataLoader.", ("root",))))
    tasks = ", ".join(f"`{one}`" for one in TASKS.names())
    hidden = ("num_classes", "label_smoothing")
    parts.append(HEADS.format(tasks=tasks, table=_options(TASKS, "Heads.NAME.", hidden)))
    models = list_models()
    options: dict[tuple[str, str, str], list[str]] = {}
    for model in models:
        for key, option in model_options(model).items():
            if key in ("num_classes", "in_channels"):  # in a configuration, the data set's
                continue
            row = (f"`Arch.{key}`", describe(option.annotation), _show(option.default))
            options.setdefault(row, []).append(f"`{model}`")
    rows = sorted((*row, "all" if len(having) == len(models) else ", ".join(having)) for row, having in options.items())
    table = _table(rows, ["setting", "value", "default", "models"])
    return "\n".join([*parts, ARCH.format(models=", ".join(f"`{model}`" for model in models)), table, ""])


def _options(catalog: Catalog, prefix: str, hidden: tuple[str, ...]) -> str:
    rows = [
        (f"`{prefix}{key}`", describe(option.annotation), _show(option.default), f"`{name}`")
        for name in catalog.names()
        for key, option in catalog.entry(name).options.items()
        if key not in hidden
    ]
    return _table(rows, ["setting", "value", "default", "of"])


def _settings(section: type, prefix: str) -> Iterator[tuple[str, str, str, str]]:
    for field in dataclasses.fields(section):
        if field.name == "options":  # of the data set, in a table of their own
            continue
        if dataclasses.is_dataclass(field.type):
            yield from _settings(field.type, f"{prefix}{field.name}.")
        else:
            yield f"`{prefix}{field.name}`", describe(field.type), _show(field.default), field.metadata["doc"]


def _table(rows: Iterable[tuple[str, ...]], headers: list[str]) -> str:
    return tabulate(rows, headers=headers, tablefmt="pipe", disable_numparse=True)


def _show(value: Any) -> str:
    """A default as YAML writes it."""
    if value == "":
        return ""
    value = list(value) if isinstance(value, tuple) else value
    return f"`{yaml.safe_dump(value, default_flow_style=True).splitlines()[0]}`"


if __name__ == "__main__":
    PATH.write_text(make_reference())
    print(f"wrote {PATH}")
