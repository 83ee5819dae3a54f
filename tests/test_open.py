"""A data set, a task or a head is added by one file, and everything else works on it."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CONFIG = """
Arch: {name: resnet20, scale: 0.125}
Global: {device: cpu, epochs: 1, use_visualdl: false}
Optimizer: {lr: {learning_rate: 1.0e-3}}
"""
ARRAYS = '''
import numpy as np

from ppcls_lite.config.catalog import register_dataset
from ppcls_lite.data.dataset import Column, DataSpec, Source, array_source, labeled
from ppcls_lite.config.options import Positive, Text

SPEC = DataSpec("stripes", {"label": Column("class", ("across", "down"))}, 3, 32, (0.5,) * 3, (0.5,) * 3)


@register_dataset
def stripes(*, root: Text = None, images: Positive = 40) -> Source:
    """Stripes across and down."""
    return array_source(SPEC, lambda: (_make(images), _make(20), False, "made"))


def _make(number):
    labels = np.arange(number) % 2
    across = np.zeros((1, 3, 32, 32), np.uint8)
    across[:, :, ::2] = 255
    pixels = np.where(labels[:, None, None, None] == 0, across, across.transpose(0, 1, 3, 2))
    return labeled(pixels.astype(np.uint8), labels)
'''
DISK = '''
from pathlib import Path

import numpy as np

from ppcls_lite.config.catalog import register_dataset
from ppcls_lite.data.dataset import Column, DataSpec, Source
from ppcls_lite.data.files import FileNames, files_dataset
from ppcls_lite.config.options import Text


@register_dataset
def by_prefix(*, root: Text = None) -> Source:
    """Images whose names begin with their class, as cat_01.png does."""
    files = sorted(path.name for path in Path(root).iterdir())
    classes = sorted({name.split("_")[0] for name in files})
    labels = np.array([classes.index(name.split("_")[0]) for name in files])
    names = FileNames.pack(root, (name.encode() for name in files))
    spec = DataSpec("by_prefix", {"label": Column("class", tuple(classes))})
    return Source(spec, lambda reading: files_dataset(spec, {"train": (names, labels)}, reading, root))
'''
TASK = '''
from ppcls_lite.data.dataset import Column
from ppcls_lite.config.catalog import register_task
from ppcls_lite.tasks.regression import Regression
from ppcls_lite.tasks.task import Metric, Task


@register_task
def quartic(column: Column) -> Task:
    """A number, by the fourth power of its error."""
    return Quartic(column.unit, "l2")


class Quartic(Regression):
    name = "quartic"

    def __init__(self, unit, loss):
        super().__init__(unit, loss)
        self.metrics = (Metric("rmse", "root of mean squared error", unit, False),)

    def loss(self, outputs, target):
        return super().loss(outputs, target).square()

    def describe(self):
        return {"task": self.name, "kind": "number", "unit": self.unit}
'''


@pytest.fixture
def house(tmp_path):
    """A copy of the project to add a file to; ``house(...)`` runs a tool of it."""
    for folder in ("ppcls_lite", "tools"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "c.yaml").write_text(CONFIG)

    def run(*arguments):
        command = [sys.executable, *map(str, arguments)]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    run.root = tmp_path
    return run


def train(house, *settings):
    house("tools/train.py", "-c", "c.yaml", "-o", "Global.output_dir=run", *settings)
    return json.loads((house.root / "run" / "result.json").read_text())


def test_a_data_set_of_arrays(house):
    (house.root / "ppcls_lite/data/sources/stripes.py").write_text(ARRAYS)
    result = train(house, "DataLoader.dataset=stripes", "DataLoader.batch_size=10", "DataLoader.images=60")
    assert (result["dataset"], result["train_images"], result["target"]["classes"]) == (
        "stripes",
        60,
        ["across", "down"],
    )
    assert "60" in (house.root / "run" / "config.yaml").read_text()


def test_a_data_set_on_disk_scored_and_predicted(house):
    from PIL import Image

    (house.root / "ppcls_lite/data/sources/by_prefix.py").write_text(DISK)
    (house.root / "pictures").mkdir()
    for i in range(20):
        Image.new("RGB", (40, 50 + i), ("red", "blue")[i % 2]).save(
            house.root / "pictures" / f"{('cat', 'dog')[i % 2]}_{i:02}.png"
        )
    data = ["DataLoader.dataset=by_prefix", "DataLoader.root=pictures", "DataLoader.test_fraction=0.3"]
    result = train(house, *data, "DataLoader.image_size=32", "DataLoader.batch_size=7")
    assert (result["train_images"], result["test_images"]) == (14, 6)
    assert "top-1" in house("tools/eval.py", "-c", "run/config.yaml")
    assert "cat" in house("tools/predict.py", "run", "pictures/cat_00.png")


def test_a_task_and_a_head_with_it(house):
    (house.root / "ppcls_lite/tasks/quartic.py").write_text(TASK)
    head = "Heads.value={task: quartic}"
    result = train(house, head, "DataLoader.train_subset=64", "DataLoader.batch_size=16")
    assert (result["task"], result["metric"]) == ("quartic", "rmse")
    assert "root of mean squared error" in house("tools/eval.py", "-c", "run/config.yaml")
    house("tools/export.py", "-c", "run/config.yaml", "--format", "paddle", "--output", "exported/net")
    from PIL import Image

    Image.new("L", (8, 8), 90).save(house.root / "digit.png")
    eager, exported = (house("tools/predict.py", model, "digit.png") for model in ("run", "exported/net"))
    assert eager == exported and re.fullmatch(r"digit\.png  -?[\d.]+\n?", eager)
