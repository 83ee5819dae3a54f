"""Imports between the packages go one way."""

import re
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1] / "ppcls_lite"
# Each imports only from those before it.
LAYERS = [
    "utils",
    "config",
    "weights",
    "data",
    "arch",
    "pictures",
    "tasks",
    "measure",
    "runs",
    "deploy",
    "engine",
    "ablation",
]


def test_every_package_imports_only_from_lower_ones():
    assert {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()} == set(LAYERS)
    wrong = [
        f"{path.relative_to(PACKAGE)} imports {package}"
        for path in PACKAGE.rglob("*.py")
        for package in re.findall(r"^\s*from ppcls_lite\.(\w+)", path.read_text(), flags=re.MULTILINE)
        if path.parent != PACKAGE and LAYERS.index(package) > LAYERS.index(path.relative_to(PACKAGE).parts[0])
    ]
    assert not wrong
