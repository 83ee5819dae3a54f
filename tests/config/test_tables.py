"""The configurations for tables and pictures of users."""

from pathlib import Path

import pytest
from PIL import Image

from ppcls_lite.measure.complexity import count_macs
from ppcls_lite.tasks.network import build_network
from ppcls_lite.tasks.setup import load_setup

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
HOUSES = "bedrooms,bathrooms,area,zipcode,price,bathroom_image,bedroom_image,frontal_image,kitchen_image"


@pytest.mark.parametrize(
    ("name", "lines", "outputs"),
    [
        ("clothes", ["image,colour,kind", "a.png,red,hat", "a.png,blue,dress", "a.png,red,dress"], 4),
        ("houses", [HOUSES, *["4,3.5,2000,91901,500000,a.png,a.png,a.png,a.png"] * 25], 1),
    ],
)
def test_they_fit_the_columns_that_they_name(name, lines, outputs, tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    (tmp_path / "rows.csv").write_text("\n".join(lines))
    setup = load_setup(CONFIGS / f"{name}.yaml", [f"DataLoader.table={tmp_path / 'rows.csv'}"])
    network = build_network(setup)
    assert setup.task.outputs == outputs and count_macs(network, setup.input_size) > 5e6
