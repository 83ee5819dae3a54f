"""A run that the tools' tests share, and its exported network."""

import pytest

from tests.deploy.formats import FORMATS
from tests.tools.helpers import QUICK, SMALL, call_tool


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A run folder made by tools/train.py, and what the tool printed."""
    folder = tmp_path_factory.mktemp("tools") / "run"
    done = call_tool("tools/train.py", "-c", QUICK, "-o", f"Global.output_dir={folder}", *SMALL)
    assert done.returncode == 0, done.stderr
    return folder, done


@pytest.fixture(scope="session")
def exported(trained, tmp_path_factory):
    """The run's network by format, and what tools/export.py printed."""
    folder = tmp_path_factory.mktemp("exported")
    places = {"paddle": folder / "net", "onnx": folder / "net.onnx"}
    printed = {}
    for form in FORMATS:
        config = trained[0] / "config.yaml"
        done = call_tool("tools/export.py", "-c", config, "--format", form, "--output", places[form])
        assert done.returncode == 0, done.stderr
        printed[form] = done.stdout
    return places, printed
