"""The stress script, in short: killed at random moments, resumed, and equal to the byte."""

import pytest
from visualdl import LogWriter

from ppcls_lite.runs.dashboard import RECORDS
from tests.stress.kill_and_resume import compare
from tests.tools.helpers import SMALL, call

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """The folder of the runs, and what the script printed."""
    folder = tmp_path_factory.mktemp("killed") / "runs"
    settings = ["-o", *SMALL, "DataLoader.val_fraction=0.1"]
    return folder, call("tests/stress/kill_and_resume.py", "--kills", 4, "--seed", 3, "--output", folder, *settings)


def test_runs_that_are_killed_and_resumed_equal_the_one_left_alone(killed):
    _, done = killed
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 of 4 equal the uninterrupted run" in done.stdout


def test_every_difference_is_found(killed):
    folder, _ = killed
    whole, resumed = folder / "whole", folder / "kill_1"
    weights = bytearray((resumed / "last.pdparams").read_bytes())
    weights[-100] ^= 1
    (resumed / "last.pdparams").write_bytes(weights)
    metrics = (resumed / "metrics.csv").read_text()
    (resumed / "metrics.csv").write_text(metrics.replace("0.", "1.", 1))
    with LogWriter(logdir=str(resumed / "vdl"), file_name=RECORDS) as writer:
        writer.add_scalar("loss/train", 5.0, 2)
    (resumed / "checkpoints" / ".epoch_0003.tmp").mkdir()
    assert [difference.split("/")[-1] for difference in compare(whole, resumed)] == [
        "last.pdparams has other bytes",
        "metrics.csv differs",
        "VisualDL differs",
        ".epoch_0003.tmp is left over",
    ]
