"""The cost of several processes."""

import pytest

from ppcls_lite.measure.scaling import Scaling, sent_bytes
from ppcls_lite.measure.timing import Timing
from tests.tools.helpers import call, call_tool


def test_a_ring_sends_each_part_round_twice():
    assert sent_bytes(800, 1) == 0
    assert sent_bytes(800, 2) == 800  # a half there, a half back
    assert sent_bytes(800, 4) == 2 * 3 * 200


def test_a_step_takes_its_computing_and_its_exchange():
    one = Scaling("x", 10**8, Timing((0.1, 0.2, 0.3)), None, None)
    assert one.bandwidth is None
    assert one.predict(1, 1e9) == pytest.approx(0.2)
    assert one.predict(2, 1e9) == pytest.approx(0.2 + 0.1)


def test_the_tool_measures_two_processes(tmp_path):
    launch = ["-m", "paddle.distributed.launch", "--nproc_per_node", "2", "--log_dir", tmp_path]
    done = call(
        *launch, "tools/benchmark.py", "scaling", "lenet", "--batch-size", 4, "--rounds", 2, "--format", "markdown"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    header, line = (text for text in done.stdout.splitlines() if text.startswith(("| network", "| lenet")))
    assert "step of 2, ms" in header and "efficiency of 16" in header
    figures = [float(cell) for cell in line.strip("| ").split("|")[1:]]
    assert figures[0] == pytest.approx(0.2, abs=0.1) and all(0 < efficiency <= 1 for efficiency in figures[-4:])


def test_one_process_has_no_bandwidth_to_measure():
    done = call_tool("tools/benchmark.py", "scaling", "lenet")
    assert done.returncode == 2 and "give --bandwidth" in done.stderr
