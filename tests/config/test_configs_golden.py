"""Parameters and multiply-adds of every configuration, against a golden file."""

import json
from pathlib import Path

import pytest

from ppcls_lite.measure.complexity import count_macs, count_params
from ppcls_lite.tasks.network import build_network
from ppcls_lite.tasks.setup import load_setup
from tests.config.test_schema import ALL_CONFIGS

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = json.loads((Path(__file__).parent / "golden_configs.json").read_text())
NAMES = sorted(str(path.relative_to(ROOT / "configs")) for path in ALL_CONFIGS)


def measure(name):
    """What the golden file says of a configuration, measured."""
    setup = load_setup(ROOT / "configs" / name)
    network, size, channels = build_network(setup), setup.input_size, setup.channels
    return {"params": count_params(network), "macs": count_macs(network, size, channels), "size": size}


def test_the_golden_file_lists_the_configurations():
    assert sorted(GOLDEN) == NAMES


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.usefixtures("zero_weights")
def test_params_and_macs_of_a_configuration_equal_the_golden_file(name):
    assert measure(name) == GOLDEN[name]
