"""A run that the tools' tests share."""

import pytest

from tests.tools.helpers import QUICK, SMALL, call


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A run folder made by tools/train.py, and what the tool printed."""
    folder = tmp_path_factory.mktemp("tools") / "run"
    done = call("tools/train.py", "-c", QUICK, "-o", f"Global.output_dir={folder}", *SMALL)
    assert done.returncode == 0, done.stderr
    return folder, done
