"""Generates docs/configuration.md from the schema: ``python -m ppcls_lite.config.reference``."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml
from tabulate import tabulate

from ppcls_lite.config.catalog import DATASETS, MODELS, TASKS, Catalog
from ppcls_lite.config.options import describe
from ppcls_lite.config.schema import SECTIONS, iter_settings, to_plain

PATH = Path(__file__).resolve().parents[2] / "docs" / "configuration.md"

INTRODUCTION = """\
# Configuration

Generated from `ppcls_lite/config/schema.py` by `python -m ppcls_lite.config.reference`; change it there.

A configuration is a YAML file with the sections below; settings that it omits have their defaults. `_BASE_: other.yaml`
(or a list) inherits from files, named relative to it. On the command line `-o SECTION.KEY=VALUE ...` replaces single
settings, with values in YAML: `-o Global.epochs=5 Optimizer.lr.learning_rate=0.01`. A misspelt key, a wrong type and
contradictory values are refused before anything starts. A run writes its configuration, with every default filled in,
to `config.yaml`; training from that file repeats the run.
"""

DATA_SETS = """\
`DataLoader.dataset` is one of {names} ([data sets](data.md)). Options of single data sets:

{table}
"""

HEADS = """\
## Heads

What the network learns: the name of a head, with its `task` ({names}) and the `column` of the data set (by default the
head's name), such as `Heads: {{value: {{task: regression, column: value}}}}` on the digits. Without this section the
network classifies the data set's first column. With several heads the loss is the sum of their losses, each times
`Heads.NAME.weight` (by default 1). See [tasks](tasks.md).

{table}
"""

ARCH = """\
## Arch

`Arch.name` is one of {names}.

The other keys of the section are the options of that model, explained in `docs/networks.md`. `Arch.num_classes` and
`Arch.in_channels`, whole numbers, are by default those of the data set.

{table}
"""


def make_reference() -> str:
    """The text of docs/configuration.md."""
    parts = [INTRODUCTION]
    for name, section in SECTIONS.items():
        rows = [
            (f"`{key}`", describe(setting.type), _show(setting.default), setting.metadata["doc"])
            for key, setting in iter_settings(section, f"{name}.")
        ]
        parts.append(f"## {name}\n\n{section.__doc__}\n\n{_table(rows, 'meaning')}\n")
        if name == "DataLoader":
            parts.append(_describe_catalog(DATA_SETS, DATASETS, "DataLoader.", "data set", ["root"]))
    parts.append(_describe_catalog(HEADS, TASKS, "Heads.NAME.", "task", ["num_classes", "label_smoothing"]))
    parts.append(_describe_catalog(ARCH, MODELS, "Arch.", "models", ["num_classes", "in_channels"]))
    return "\n".join(parts)


def _describe_catalog(text: str, catalog: Catalog, prefix: str, header: str, hidden: Iterable[str]) -> str:
    """``text`` with the names in a catalog and a table of their options, entries with the same option in one row."""
    entries: dict[tuple[str, str, str], list[str]] = {}
    for name in catalog.names():
        for key, option in catalog.entry(name).options.items():
            if key not in hidden:
                row = (f"`{prefix}{key}`", describe(option.annotation), _show(option.default))
                entries.setdefault(row, []).append(f"`{name}`")
    total = len(catalog.names())
    rows = [(*row, "all" if len(names) == total else ", ".join(names)) for row, names in sorted(entries.items())]
    return text.format(names=", ".join(f"`{name}`" for name in catalog.names()), table=_table(rows, header))


def _table(rows: Iterable[tuple[str, ...]], last_header: str) -> str:
    headers = ["setting", "value", "default", last_header]
    return tabulate(rows, headers=headers, tablefmt="pipe", disable_numparse=True)


def _show(value: Any) -> str:
    """A default as YAML writes it; nothing for an empty string."""
    return f"`{yaml.safe_dump(to_plain(value), default_flow_style=True).splitlines()[0]}`" if value != "" else ""


if __name__ == "__main__":
    PATH.write_text(make_reference())
    print(f"wrote {PATH}")
